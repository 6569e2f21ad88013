"""Long short-term memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

import jax
import jax.numpy as jnp

from rnn_jax.cells.gated import CellOptions
from rnn_jax.cells.pointwise import PointwiseCell
from rnn_jax.types import Array, Carry

__all__ = ["LSTM", "lstm"]


@dataclass(frozen=True)
class LSTM(PointwiseCell):
    """Hyperparameters of `lstm`, with the pure functions of a `Cell`."""

    forget_bias: float = 0.0
    gates: ClassVar[int] = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.forget_bias):
            raise ValueError(f"forget_bias must be finite, not {self.forget_bias}")

    def zero_carry(
        self, batch_shape: tuple[int, ...], dtype: jnp.dtype | None
    ) -> tuple[Array, Array]:
        """Zeros ``(h, c)``, ``[*B, H]`` each."""
        # Two arrays, not one twice: a train step that donates its state cannot give one away twice.
        shape = (*batch_shape, self.hidden_size)
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)

    def fed(self, carry: Carry) -> Array:
        """``h``."""
        h: Array = carry[0]
        return h

    def pointwise(
        self, theta: Any, carry: Carry, z: tuple[Array, ...], r: tuple[Array, ...]
    ) -> tuple[Carry, Array]:
        """The equations of `lstm` for one unit, gates i, f, g, o."""
        _, c = carry
        i, f, g, o = (a + b for a, b in zip(z, r, strict=True))
        c = jax.nn.sigmoid(f + self.forget_bias) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h


def lstm(hidden_size: int, *, forget_bias: float = 0.0, **options: Unpack[CellOptions]) -> LSTM:
    """Long short-term memory: a cell state that is added to, behind three gates.

    ``[i, f, g, o] = x_t W_ih + h_{t-1} W_hh + b``,
    ``c_t = σ(f + forget_bias) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)``, ``h_t = σ(o) ⊙ tanh(c_t)``,
    ``y_t = h_t``.

    Parameters: ``{"w_ih": [D, 4H], "w_hh": [H, 4H], "b": [4H]}``, the gates in the order i, f, g,
    o; matrices uniform in ±1/√fan-in, bias zero. A ``b_hh [4H]`` beside them is added to the
    recurrent product, as PyTorch's second bias is.

    Args:
      hidden_size: ``H``.
      forget_bias: added to the forget gate, not learned; 1 lets a fresh cell remember.
      **options: see `CellOptions`.

    Returns:
      A `Cell`; its carry is ``(h, c)``, ``[B, H]`` each.

    Raises:
      ValueError: ``hidden_size`` is not a positive integer, or ``forget_bias`` not finite.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.lstm(3, forget_bias=1.0)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> (h, c), ys = rnn_jax.unroll(cell, params, None, jax.numpy.ones((5, 4, 2)))
      >>> h.shape, c.shape, ys.shape
      ((4, 3), (4, 3), (5, 4, 3))

    Reference:
      Gers, Schmidhuber and Cummins, Learning to forget: continual prediction with LSTM, Neural
      Computation 12 (2000).
    """
    return LSTM(hidden_size, forget_bias, **options)
