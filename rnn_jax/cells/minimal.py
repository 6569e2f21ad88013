"""The minimal GRU and LSTM: gates that look at the input alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypedDict, Unpack

import jax
import jax.numpy as jnp

from rnn_jax.cells.initializers import Initializer, check_initializer, draw
from rnn_jax.cells.linear import LinearCell
from rnn_jax.host.checks import check_members, positive
from rnn_jax.types import Array, Params

__all__ = ["MinGRU", "MinLSTM", "MinimalOptions", "min_gru", "min_lstm"]


class MinimalOptions(TypedDict, total=False):
    """What `min_gru` and `min_lstm` take by keyword.

    positive: pass the candidate through the paper's ``g(u) = u + ½`` for ``u ≥ 0``, ``σ(u)`` below,
      as its log-space form has to; False.
    bias: whether there is a ``b`` beside the input product; True.
    learned_carry: whether the initial carry is a parameter, ``"carry"``, zero at first; False.
    w_ih_init, b_init: how matrix and bias are drawn, gate by gate; see `CellOptions`.
    """

    positive: bool
    bias: bool
    learned_carry: bool
    w_ih_init: Initializer
    b_init: Initializer


@dataclass(frozen=True)
class _Minimal(LinearCell):
    positive: bool = field(default=False, kw_only=True)
    bias: bool = field(default=True, kw_only=True)
    w_ih_init: Initializer = field(default="uniform", kw_only=True)
    b_init: Initializer = field(default="zeros", kw_only=True)
    gates: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_initializer(w_ih_init=self.w_ih_init, b_init=self.b_init)

    def init(self, key: Array, input_size: int) -> Params:
        """``w_ih [D, G·H]``, and as the options say ``b [G·H]`` and ``carry [H]``."""
        positive(input_size=input_size)
        keys, size = jax.random.split(key), self.hidden_size
        params = {"w_ih": draw(self.w_ih_init, keys[0], (input_size, size), self.gates)}
        if self.bias:
            params["b"] = draw(self.b_init, keys[1], (size,), self.gates)
        if self.learned_carry:
            params["carry"] = jnp.zeros_like(params["w_ih"], shape=size)
        return params

    def project(self, params: Params, xs: Array) -> Array:
        """``z = x W_ih (+ b)`` for all steps: ``[T, B, G·H]`` in `state_dtype`."""
        check_members(self, params, "w_ih")
        given, columns = params["w_ih"].shape, self.gates * self.hidden_size
        if given[1:] != (columns,):
            raise ValueError(
                f"w_ih has shape {given}, but {type(self).__name__} of {self.hidden_size} units "
                f"needs {columns} columns: pass the parameters that its init gives"
            )
        return super().project(params, xs)

    def candidate(self, u: Array) -> Array:
        """``u``, or ``g(u)``."""
        if not self.positive:
            return u
        return jnp.where(u >= 0, u + 0.5, jax.nn.sigmoid(u))


@dataclass(frozen=True)
class MinGRU(_Minimal):
    """Hyperparameters of `min_gru`, with the pure functions of a `Cell`."""

    gates: ClassVar[int] = 2
    gate_names: ClassVar[tuple[str, ...]] = ("z",)

    def coefficients(self, params: Params, z: Array) -> tuple[Array, Array]:
        """``1 - z_t`` and ``z_t ⊙ h̃_t``."""
        update, new = jnp.split(z, 2, axis=-1)
        return jax.nn.sigmoid(-update), jax.nn.sigmoid(update) * self.candidate(new)

    def gate_activations(
        self, params: Params, carry: Array, new_carry: Array, z: Array
    ) -> tuple[Array, ...]:
        """``z_t``, of which `coefficients` gives the complement."""
        keep, _ = self.coefficients(params, z)
        return (1 - keep,)


@dataclass(frozen=True)
class MinLSTM(_Minimal):
    """Hyperparameters of `min_lstm`, with the pure functions of a `Cell`."""

    gates: ClassVar[int] = 3
    gate_names: ClassVar[tuple[str, ...]] = ("f", "i")

    def coefficients(self, params: Params, z: Array) -> tuple[Array, Array]:
        """``f'_t`` and ``i'_t ⊙ h̃_t``."""
        forget, update, new = jnp.split(z, 3, axis=-1)
        # f / (f + i) = σ(log f - log i), which neither overflows nor divides nothing by nothing.
        ratio = jax.nn.log_sigmoid(forget) - jax.nn.log_sigmoid(update)
        return jax.nn.sigmoid(ratio), jax.nn.sigmoid(-ratio) * self.candidate(new)

    def gate_activations(
        self, params: Params, carry: Array, new_carry: Array, z: Array
    ) -> tuple[Array, ...]:
        """``f'_t`` and ``i'_t``, which add up to one."""
        keep, _ = self.coefficients(params, z)
        return keep, 1 - keep


def min_gru(hidden_size: int, **options: Unpack[MinimalOptions]) -> MinGRU:
    """The minimal GRU: update gate and candidate see the input alone, so that steps parallelise.

    ``z_t = σ(x_t W_z + b_z)``, ``h̃_t = x_t W_h + b_h``,
    ``h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ h̃_t``, ``y_t = h_t``.

    This is the paper's direct form. Its log-space form computes the same of ``g(h̃)`` in place of
    ``h̃``, with ``positive=True`` here; products of ``1 - z_t < 1`` need no logarithms to stay
    finite in the associative scan.

    Parameters: ``{"w_ih": [D, 2H], "b": [2H]}``, the blocks in the order z, h̃; the matrix uniform
    in ±1/√fan-in, bias zero.

    Args:
      hidden_size: ``H``.
      **options: see `MinimalOptions`.

    Returns:
      A `LinearCell`; its carry is ``h [B, H]``.

    Raises:
      ValueError: ``hidden_size`` is not a positive integer, or an unknown initialiser.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.min_gru(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnn_jax.unroll(cell, params, None, jax.numpy.ones((5, 4, 2)))
      >>> carry.shape, ys.shape
      ((4, 3), (5, 4, 3))

    Reference:
      Feng et al., Were RNNs all we needed?, arXiv:2410.01201 (2024).
    """
    return MinGRU(hidden_size, **options)


def min_lstm(hidden_size: int, **options: Unpack[MinimalOptions]) -> MinLSTM:
    """The minimal LSTM: a forget and an input gate of the input alone, which add up to one.

    ``f_t = σ(x_t W_f + b_f)``, ``i_t = σ(x_t W_i + b_i)``, ``h̃_t = x_t W_h + b_h``,
    ``h_t = (f_t ⊙ h_{t-1} + i_t ⊙ h̃_t) / (f_t + i_t)``, ``y_t = h_t``.

    This is the paper's direct, length-independent form; see `min_gru` for ``positive=True``.

    Parameters: ``{"w_ih": [D, 3H], "b": [3H]}``, the blocks in the order f, i, h̃; the matrix
    uniform in ±1/√fan-in, bias zero.

    Args:
      hidden_size: ``H``.
      **options: see `MinimalOptions`.

    Returns:
      A `LinearCell`; its carry is ``h [B, H]``.

    Raises:
      ValueError: ``hidden_size`` is not a positive integer, or an unknown initialiser.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.min_lstm(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnn_jax.unroll(cell, params, None, jax.numpy.ones((5, 4, 2)))
      >>> carry.shape, ys.shape
      ((4, 3), (5, 4, 3))

    Reference:
      Feng et al., Were RNNs all we needed?, arXiv:2410.01201 (2024).
    """
    return MinLSTM(hidden_size, **options)
