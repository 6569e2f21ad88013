"""Cells whose products are normalised over their units: layer normalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.products import product
from rnn_jax.cells.gated import GatedCell
from rnn_jax.cells.memory import LSTMCarry, MemoryCell, named
from rnn_jax.cells.projection import input_product
from rnn_jax.host.checks import check_members
from rnn_jax.types import Array, Carry, Params

__all__ = ["LayerNormElman", "LayerNormGRU", "LayerNormLSTM", "scale", "standardize"]

# The paper's equations have none; its authors' code has this one.
EPSILON = 1e-5


def standardize(x: Array) -> Array:
    """``(x - mean) / √(variance + ε)`` over the last axis, in the dtype of ``x``."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + EPSILON)


def scale(x: Array, gain: Array, bias: Array | None) -> Array:
    """``x ⊙ gain (+ bias)``, of the last axis."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    scaled = x * gain.reshape(shape)
    return scaled if bias is None else scaled + bias.reshape(shape)


@dataclass(frozen=True)
class LayerNormElman(GatedCell):
    """Hyperparameters of ``elman(H, layer_norm=True)``, with the pure functions of a `Cell`.

    ``h_t = φ(LN(x_t W_ih + h_{t-1} W_hh))``, ``y_t = h_t``, with
    ``LN(a) = (a - mean(a)) / √(variance(a) + 1e-5) ⊙ gain + b`` over the ``H`` units.

    Parameters: those of `elman`, where ``b`` follows the norm, and ``"gain": [H]``, one at first.
    Statistics are float32 at the least.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.elman(3, layer_norm=True)
      >>> sorted(cell.init(jax.random.key(0), 2))
      ['b', 'gain', 'w_hh', 'w_ih']

    Reference:
      Ba, Kiros and Hinton, Layer normalization, arXiv:1607.06450 (2016), equation 4.
    """

    activation: Callable[[Array], Array] = jnp.tanh

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recurrent_bias:
            raise ValueError(
                "elman(layer_norm=True) has no recurrent_bias: its one norm, of the sum of both "
                "products, has one bias; leave it out"
            )

    def init(self, key: Array, input_size: int) -> Params:
        """The parameters; see the class."""
        params = super().init(key, input_size)
        return {**params, "gain": jnp.ones(self.hidden_size, params["w_hh"].dtype)}

    def project(self, params: Params, xs: Array) -> Array:
        """``x W_ih`` for all steps; the bias waits for the norm."""
        check_members(self, params, "w_ih", "w_hh")
        return input_product(params["w_ih"], xs)

    def step(self, params: Params, carry: Carry, z: Array) -> tuple[Carry, Array]:
        """The equations of the class."""
        summed = standardize(z + product(carry, params["w_hh"]))
        h = self.activation(scale(summed, params["gain"], params.get("b")))
        return h, h.astype(params["w_hh"].dtype)


@dataclass(frozen=True)
class _TwoNorms(GatedCell):
    """A `GatedCell` that normalises its two products apart, each with a gain and a bias.

    ``b`` and ``b_hh`` are those biases: they follow the norms.
    """

    # How many neighbouring gates each norm spans.
    together: ClassVar[tuple[int, ...]] = (1,)

    def init(self, key: Array, input_size: int) -> Params:
        """The parameters; see the class."""
        params = super().init(key, input_size)
        gains = (jnp.ones(self.gates * self.hidden_size, params["w_hh"].dtype) for _ in range(2))
        return {**params, **dict(zip(("gain_ih", "gain_hh"), gains, strict=True))}

    def project(self, params: Params, xs: Array) -> Array:
        """``LN(x W_ih)`` for all steps: ``[T, B, G·H]`` in `state_dtype`."""
        check_members(self, params, "w_ih", "w_hh")
        return self._norm(input_product(params["w_ih"], xs), params["gain_ih"], params.get("b"))

    def recur(self, params: Params, h: Array) -> Array:
        """``LN(h W_hh)``: ``[B, G·H]`` in `state_dtype`."""
        return self._norm(product(h, params["w_hh"]), params["gain_hh"], params.get("b_hh"))

    def _norm(self, products: Array, gain: Array, bias: Array | None) -> Array:
        cuts = [self.hidden_size * count for count in accumulate(self.together[:-1])]
        parts = map(standardize, jnp.split(products, cuts, axis=-1))
        return scale(jnp.concatenate(list(parts), axis=-1), gain, bias)


@dataclass(frozen=True)
class LayerNormGRU(_TwoNorms):
    """Hyperparameters of ``gru(H, layer_norm=True)``, with the pure functions of a `Cell`.

    ``z = LN(x_t W_ih)`` and ``u = LN(h_{t-1} W_hh)``, then
    ``r_t = σ(z_r + u_r)``, ``z_t = σ(z_z + u_z)``, ``n_t = tanh(z_n + r_t ⊙ u_n)``,
    ``h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}``, ``y_t = h_t``, with
    ``LN(a) = (a - mean(a)) / √(variance(a) + 1e-5) ⊙ gain + bias``, its statistics over the 2H
    numbers of r and z together and over the H of n, as in the paper. (The paper writes
    ``1 - z_t`` for our ``z_t``: the sign of that gate.)

    Parameters: ``{"w_ih": [D, 3H], "w_hh": [H, 3H]}`` as in `gru`, gains ``"gain_ih": [3H]`` and
    ``"gain_hh": [3H]``, one at first, and the norms' biases ``"b": [3H]`` and ``"b_hh": [3H]``.
    Statistics are float32 at the least.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.gru(3, layer_norm=True)
      >>> sorted(cell.init(jax.random.key(0), 2))
      ['b', 'b_hh', 'gain_hh', 'gain_ih', 'w_hh', 'w_ih']

    Reference:
      Ba, Kiros and Hinton, Layer normalization, arXiv:1607.06450 (2016), supplementary material.
    """

    recurrent_bias: bool = field(default=True, kw_only=True)
    gates: ClassVar[int] = 3
    gate_names: ClassVar[tuple[str, ...]] = ("r", "z")
    together: ClassVar[tuple[int, ...]] = (2, 1)

    def step(self, params: Params, carry: Carry, z: Array) -> tuple[Carry, Array]:
        """The equations of the class."""
        (z_r, z_z, z_n), (u_r, u_z, u_n) = self.split(z), self.split(self.recur(params, carry))
        update = jax.nn.sigmoid(z_z + u_z)
        new = jnp.tanh(z_n + jax.nn.sigmoid(z_r + u_r) * u_n)
        h = (1 - update) * new + update * carry
        return h, h.astype(params["w_hh"].dtype)


@dataclass(frozen=True)
class LayerNormLSTM(_TwoNorms, MemoryCell):
    """Hyperparameters of ``lstm(H, layer_norm=True)``, with the pure functions of a `Cell`.

    ``[i, f, g, o] = LN(x_t W_ih) + LN(h_{t-1} W_hh)``,
    ``c_t = σ(f + forget_bias) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)``,
    ``h_t = σ(o) ⊙ tanh(LN(c_t))``, ``y_t = h_t``, with
    ``LN(a) = (a - mean(a)) / √(variance(a) + 1e-5) ⊙ gain + bias``, its statistics over the 4H
    numbers of all gates together, and over the H of ``c_t``, as in the paper.

    Parameters: ``{"w_ih": [D, 4H], "w_hh": [H, 4H]}`` as in `lstm`, gains ``"gain_ih": [4H]``,
    ``"gain_hh": [4H]`` and ``"gain_c": [H]``, one at first, and biases ``"b": [4H]`` of the first
    norm and ``"b_c": [H]`` of the last. The paper has three vectors for the one that is ``b``
    here, a bias of either norm and one more, which are only ever added; with ``recurrent_bias``
    there are two. Statistics are float32 at the least.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.lstm(3, layer_norm=True)
      >>> sorted(cell.init(jax.random.key(0), 2))
      ['b', 'b_c', 'gain_c', 'gain_hh', 'gain_ih', 'w_hh', 'w_ih']

    Reference:
      Ba, Kiros and Hinton, Layer normalization, arXiv:1607.06450 (2016), supplementary material.
    """

    together: ClassVar[tuple[int, ...]] = (4,)

    def init(self, key: Array, input_size: int) -> Params:
        """The parameters; see the class."""
        params = super().init(key, input_size)
        dtype = params["w_hh"].dtype
        params["gain_c"] = jnp.ones(self.hidden_size, dtype)
        if self.bias:
            params["b_c"] = jnp.zeros(self.hidden_size, dtype)
        return params

    def step(self, params: Params, carry: Carry, z: Array) -> tuple[Carry, Array]:
        """The equations of the class."""
        h, c = carry
        i, f, g, o = self.split(z + self.recur(params, h))
        c = jax.nn.sigmoid(f + self.forget_bias) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        shown = scale(standardize(c), params["gain_c"], params.get("b_c"))
        h = jax.nn.sigmoid(o) * jnp.tanh(shown)
        return named(LSTMCarry(h, c), carry), h.astype(params["w_hh"].dtype)
