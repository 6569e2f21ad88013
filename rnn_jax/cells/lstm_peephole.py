"""Long short-term memory whose gates see the cell state."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rnn_jax.cells.memory import LSTMCarry, MemoryCell
from rnn_jax.cells.pointwise import PointwiseCell
from rnn_jax.types import Array, Carry, Params, state_dtype

__all__ = ["PeepholeLSTM"]


# Not derived from LSTM: what reads or writes an LSTM's parameters must not take this cell for one.
@dataclass(frozen=True)
class PeepholeLSTM(MemoryCell, PointwiseCell):
    """Hyperparameters of ``lstm(H, peepholes=True)``, with the pure functions of a `Cell`.

    ``[i, f, g, o] = x_t W_ih + h_{t-1} W_hh + b``,
    ``c_t = σ(f + p_f ⊙ c_{t-1} + forget_bias) ⊙ c_{t-1} + σ(i + p_i ⊙ c_{t-1}) ⊙ tanh(g)``,
    ``h_t = σ(o + p_o ⊙ c_t) ⊙ tanh(c_t)``, ``y_t = h_t``.

    Parameters: those of `lstm`, and ``"peephole": {"i", "f", "o"}``, ``[H]`` each, zero at first:
    a fresh cell is an LSTM.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.lstm(3, peepholes=True)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> params["peephole"]["i"].shape
      (3,)

    Reference:
      Gers, Schraudolph and Schmidhuber, Learning precise timing with LSTM recurrent networks,
      Journal of Machine Learning Research 3 (2002).
    """

    def init(self, key: Array, input_size: int) -> Params:
        """The parameters; see the class."""
        params = super().init(key, input_size)
        dtype = params["w_hh"].dtype
        params["peephole"] = {gate: jnp.zeros(self.hidden_size, dtype) for gate in "ifo"}
        return params

    def theta(self, params: Params) -> Params:
        """The peepholes, wide enough for their gradients' sums over all steps."""
        return jax.tree.map(lambda p: p.astype(state_dtype(p.dtype)), params["peephole"])

    def pointwise(
        self, theta: Params, carry: Carry, z: tuple[Array, ...], r: tuple[Array, ...]
    ) -> tuple[Carry, Array]:
        """The equations of the class for one unit, gates i, f, g, o."""
        _, c = carry
        i, f, g, o = (a + b for a, b in zip(z, r, strict=True))
        keep = jax.nn.sigmoid(f + theta["f"] * c + self.forget_bias)
        c = keep * c + jax.nn.sigmoid(i + theta["i"] * c) * jnp.tanh(g)
        h = jax.nn.sigmoid(o + theta["o"] * c) * jnp.tanh(c)
        return LSTMCarry(h, c), h

    def gate_activations(
        self, params: Params, carry: Carry, new_carry: Carry, z: Array
    ) -> tuple[Array, ...]:
        """The gates i, f and o of the class; see `GatedCell.gate_activations`."""
        (h, c), (_, new_c) = carry, new_carry
        i, f, _, o = self.split(z + self.recur(params, h))
        axes = (1,) * (i.ndim - 1) + (-1,)
        p = {gate: weights.reshape(axes) for gate, weights in self.theta(params).items()}
        return (
            jax.nn.sigmoid(i + p["i"] * c),
            jax.nn.sigmoid(f + p["f"] * c + self.forget_bias),
            jax.nn.sigmoid(o + p["o"] * new_c),
        )
