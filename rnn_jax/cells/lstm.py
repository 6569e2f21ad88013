"""Long short-term memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import jax
import jax.numpy as jnp

from rnn_jax.cells.gated import CellOptions
from rnn_jax.cells.layer_norm import LayerNormLSTM
from rnn_jax.cells.lstm_peephole import PeepholeLSTM
from rnn_jax.cells.lstm_projected import ProjectedLSTM
from rnn_jax.cells.memory import LSTMCarry, MemoryCell
from rnn_jax.cells.pointwise import PointwiseCell
from rnn_jax.types import Array, Carry, Params

__all__ = ["LSTM", "lstm"]


@dataclass(frozen=True)
class LSTM(MemoryCell, PointwiseCell):
    """Hyperparameters of `lstm`, with the pure functions of a `Cell`."""

    def pointwise(
        self, theta: Params, carry: Carry, z: tuple[Array, ...], r: tuple[Array, ...]
    ) -> tuple[Carry, Array]:
        """The equations of `lstm` for one unit, gates i, f, g, o."""
        _, c = carry
        i, f, g, o = (a + b for a, b in zip(z, r, strict=True))
        c = jax.nn.sigmoid(f + self.forget_bias) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return LSTMCarry(h, c), h


def lstm(
    hidden_size: int,
    *,
    forget_bias: float = 0.0,
    peepholes: bool = False,
    proj_size: int | None = None,
    layer_norm: bool = False,
    **options: Unpack[CellOptions],
) -> LSTM | PeepholeLSTM | ProjectedLSTM | LayerNormLSTM:
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
      peepholes: whether the gates see the cell state; see `PeepholeLSTM`.
      proj_size: ``P``, the size of the output as a projection of ``H`` units; see `ProjectedLSTM`.
      layer_norm: whether the products and the cell state are normalised; see `LayerNormLSTM`.
      **options: see `CellOptions`.

    Returns:
      A `Cell`; its carry is an `LSTMCarry` ``(h, c)``, ``[B, H]`` each (``h [B, P]`` with a
      projection).

    Raises:
      ValueError: ``hidden_size`` or ``proj_size`` is not a positive integer, ``forget_bias`` not
        finite, or more than one variant is asked for.

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
    projected = proj_size is not None
    asked = {"peepholes": peepholes, "proj_size": projected, "layer_norm": layer_norm}
    chosen = [name for name, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        raise ValueError(f"lstm() has no variant with {' and '.join(chosen)}: choose one of them")
    if proj_size is not None:
        return ProjectedLSTM(hidden_size, forget_bias, proj_size=proj_size, **options)
    if peepholes:
        return PeepholeLSTM(hidden_size, forget_bias, **options)
    if layer_norm:
        return LayerNormLSTM(hidden_size, forget_bias, **options)
    return LSTM(hidden_size, forget_bias, **options)
