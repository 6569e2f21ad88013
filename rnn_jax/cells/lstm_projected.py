"""Long short-term memory whose output is a projection."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from rnn_jax.arrays.products import affine, product
from rnn_jax.cells.initializers import draw
from rnn_jax.cells.memory import LSTMCarry, MemoryCell, named
from rnn_jax.host.checks import positive
from rnn_jax.types import Array, Carry, Params

__all__ = ["ProjectedLSTM"]


@dataclass(frozen=True)
class ProjectedLSTM(MemoryCell):
    """Hyperparameters of ``lstm(H, proj_size=P)``, with the pure functions of a `Cell`.

    ``[i, f, g, o] = x_t W_ih + h_{t-1} W_hh + b``,
    ``c_t = σ(f + forget_bias) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)``,
    ``h_t = (σ(o) ⊙ tanh(c_t)) W_hr``, ``y_t = h_t``, as in PyTorch.

    Parameters: those of `lstm`, but ``"w_hh": [P, 4H]``, and ``"w_hr": [H, P]``, uniform in ±1/√H
    whatever the other matrices are. The carry is ``(h [B, P], c [B, H])``. Units meet in the
    projection, so this cell takes the plain scan.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.lstm(8, proj_size=3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> (h, c), ys = rnn_jax.unroll(cell, params, None, jax.numpy.ones((5, 4, 2)))
      >>> h.shape, c.shape, ys.shape
      ((4, 3), (4, 8), (5, 4, 3))

    Reference:
      Sak, Senior and Beaufays, Long short-term memory recurrent neural network architectures for
      large scale acoustic modeling, Interspeech 2014.
    """

    proj_size: int = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(proj_size=self.proj_size)

    @property
    def output_size(self) -> int:
        """``P``."""
        return self.proj_size

    def init(self, key: Array, input_size: int) -> Params:
        """The parameters; see the class."""
        first, second = jax.random.split(key)
        w_hr = draw("uniform", second, (self.hidden_size, self.proj_size))
        return {**super().init(first, input_size), "w_hr": w_hr}

    def step(self, params: Params, carry: Carry, z: Array) -> tuple[Carry, Array]:
        """The equations of the class."""
        h, c = carry
        i, f, g, o = self.split(z + affine(h, params["w_hh"], params.get("b_hh")))
        c = jax.nn.sigmoid(f + self.forget_bias) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = product(jax.nn.sigmoid(o) * jnp.tanh(c), params["w_hr"])
        return named(LSTMCarry(h, c), carry), h.astype(params["w_hh"].dtype)
