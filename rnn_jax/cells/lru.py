"""The linear recurrent unit: a complex diagonal recurrence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from rnn_jax.arrays.products import affine
from rnn_jax.cells.linear import LinearCell
from rnn_jax.host.checks import member, positive
from rnn_jax.types import Array, Params, state_dtype

__all__ = ["LRU", "lru"]


@dataclass(frozen=True)
class LRU(LinearCell):
    """Hyperparameters of `lru`, with the pure functions of a `Cell`."""

    outputs: int | None = field(default=None, kw_only=True)
    r_min: float = field(default=0.0, kw_only=True)
    r_max: float = field(default=1.0, kw_only=True)
    max_phase: float = field(default=2 * math.pi, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(output_size=self.output_size)
        if not 0 <= self.r_min < self.r_max <= 1:
            raise ValueError(f"0 ≤ r_min < r_max ≤ 1 must hold, not {self.r_min} and {self.r_max}")
        if not 0 < self.max_phase <= 2 * math.pi:
            raise ValueError(f"max_phase must lie in 0 … 2π, above 0, not {self.max_phase}")

    @property
    def output_size(self) -> int:
        """``O``."""
        return self.hidden_size if self.outputs is None else self.outputs

    def init(self, key: Array, input_size: int) -> Params:
        """The parameters; see `lru`."""
        positive(input_size=input_size)
        size, outputs = self.hidden_size, self.output_size
        keys = jax.random.split(key, 5)
        # Never 0 nor 1, whose logarithms are not finite.
        tiny = 1e-6
        ring = jax.random.uniform(keys[0], (size,), minval=tiny, maxval=1 - tiny)
        square = self.r_min**2 + ring * (self.r_max**2 - self.r_min**2)
        phase = jax.random.uniform(keys[1], (size,), minval=tiny) * self.max_phase
        into = jax.random.normal(keys[2], (input_size, 2 * size)) / math.sqrt(2 * input_size)
        skip = jax.random.normal(keys[3], (input_size, outputs)) / math.sqrt(input_size)
        params = {
            "w_ih": jnp.concatenate([into, skip], axis=1),
            "nu_log": jnp.log(-0.5 * jnp.log(square)),
            "theta_log": jnp.log(phase),
            "gamma_log": 0.5 * jnp.log1p(-square),
            "w_hy": jax.random.normal(keys[4], (2 * size, outputs)) / math.sqrt(size),
        }
        if self.learned_carry:
            params["carry"] = jnp.zeros_like(ring, shape=2 * size)
        return params

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Array:
        """Zeros, or what ``params`` hold as ``carry [2H]``, real and imaginary parts."""
        dtype = None
        if params is not None:
            dtype = state_dtype(member(self, params, "w_ih").dtype)
        carry = jnp.zeros(2 * self.hidden_size, dtype)
        if params is not None and "carry" in params:
            carry = params["carry"].astype(dtype)
        return jnp.broadcast_to(
            jax.lax.complex(*jnp.split(carry, 2)), (*batch_shape, self.hidden_size)
        )

    def coefficients(self, params: Params, z: Array) -> tuple[Array, Array]:
        """``Λ``, the same for all steps and rows, and ``γ ⊙ B x``."""
        nu, theta, gamma = (
            jnp.exp(params[name].astype(z.dtype)).reshape((1,) * (z.ndim - 1) + (-1,))
            for name in ("nu_log", "theta_log", "gamma_log")
        )
        re, im = jnp.split(z[..., : 2 * self.hidden_size], 2, axis=-1)
        return jnp.exp(jax.lax.complex(-nu, theta)), jax.lax.complex(gamma * re, gamma * im)

    def read(self, params: Params, carry: Array, z: Array) -> Array:
        """``Re(C c) + D x``."""
        parts = jnp.concatenate([carry.real, -carry.imag], axis=-1)
        y = affine(parts, params["w_hy"]) + z[..., 2 * self.hidden_size :]
        return y.astype(params["w_hy"].dtype)


def lru(
    hidden_size: int,
    *,
    output_size: int | None = None,
    r_min: float = 0.0,
    r_max: float = 1.0,
    max_phase: float = 2 * math.pi,
    learned_carry: bool = False,
) -> LRU:
    """The linear recurrent unit: ``H`` damped oscillators, complex numbers that decay and turn.

    ``Λ = exp(-exp(ν) + i exp(θ))``, ``c_t = Λ ⊙ c_{t-1} + exp(γ) ⊙ (B x_t)``,
    ``y_t = Re(C c_t) + D x_t``.

    There is no non-linearity; put one between layers, as the paper does. ``|Λ| < 1`` whatever the
    parameters.

    Parameters, all real: ``{"w_ih": [D, 2H + O], "nu_log": [H], "theta_log": [H],
    "gamma_log": [H], "w_hy": [2H, O]}``; the blocks of ``w_ih`` are Re B, Im B and D, those of
    ``w_hy`` Re C and Im C. ``Λ`` is uniform on the ring ``r_min ≤ |Λ| ≤ r_max`` up to the angle
    ``max_phase``, ``γ = log √(1 - |Λ|²)``, B normal of variance 1/2D in each part, C of 1/H, D of
    1/D (the paper's D is diagonal, of variance 1).

    Args:
      hidden_size: ``H``, complex numbers.
      output_size: ``O``; ``H`` by default.
      r_min: the smallest ``|Λ|`` of fresh parameters; near 1 for long memories.
      r_max: the largest.
      max_phase: the largest angle, in radians; small for long memories.
      learned_carry: whether the initial carry is a parameter, ``"carry" [2H]``, real parts before
        imaginary ones, zero at first.

    Returns:
      A `LinearCell`; its carry is ``c complex[B, H]``, its outputs are ``float[T, B, O]``.

    Raises:
      ValueError: a size is not a positive integer, or ``r_min``, ``r_max``, ``max_phase`` lie
        outside their ranges.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.lru(3, output_size=6, r_min=0.9)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnn_jax.unroll(cell, params, None, jax.numpy.ones((5, 4, 2)))
      >>> carry.shape, carry.dtype, ys.shape, ys.dtype
      ((4, 3), dtype('complex64'), (5, 4, 6), dtype('float32'))

    Reference:
      Orvieto et al., Resurrecting recurrent neural networks for long sequences, ICML 2023,
      arXiv:2303.06349.
    """
    return LRU(
        hidden_size, outputs=output_size, r_min=r_min, r_max=r_max, max_phase=max_phase,
        learned_carry=learned_carry,
    )  # fmt: skip
