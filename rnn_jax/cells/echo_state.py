"""The echo state network: a fixed random reservoir, from which only a read-out learns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from rnn_jax.cells.pointwise import PointwiseCell
from rnn_jax.types import Array, Carry, Params

__all__ = ["EchoState", "Reservoir", "Uniform", "echo_state"]


@dataclass(frozen=True)
class Reservoir:
    """An initialiser of recurrent matrices: sparse, random, of a set spectral radius.

    Example:
      >>> import jax
      >>> Reservoir(spectral_radius=0.9, sparsity=0.5)(jax.random.key(0), (4, 4), float).shape
      (4, 4)
    """

    spectral_radius: float
    sparsity: float

    def __post_init__(self) -> None:
        _not_negative(spectral_radius=self.spectral_radius)
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity must lie in 0 … 1, below 1, not {self.sparsity}")

    def __call__(self, key: Array, shape: tuple[int, int], dtype: DTypeLike) -> Array:
        """``[H, H]``, a column a unit."""
        order_key, weights_key = jax.random.split(key)
        # An exact number of sources a unit, one at least: then there is a cycle, and a radius.
        sources = max(1, round((1 - self.sparsity) * shape[0]))
        order = jax.random.uniform(order_key, shape)
        chosen = order <= jnp.sort(order, axis=0)[sources - 1][None]
        w = jnp.where(chosen, jax.random.uniform(weights_key, shape, dtype, minval=-1.0), 0)
        return self.spectral_radius / _spectral_radius(w) * w


@dataclass(frozen=True)
class Uniform:
    """An initialiser: uniform in ±scale.

    Example:
      >>> import jax
      >>> Uniform(0.0)(jax.random.key(0), (2,), float)
      Array([0., 0.], dtype=float32)
    """

    scale: float

    def __post_init__(self) -> None:
        _not_negative(scale=self.scale)

    def __call__(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of ``shape``."""
        return self.scale * jax.random.uniform(key, shape, dtype, minval=-1.0)


def _not_negative(**options: float) -> None:
    for name, value in options.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and not negative, not {value}")


def _spectral_radius(w: Array, doublings: int = 30) -> Array:
    """``ρ(W) = lim ‖W^k‖^{1/k}`` (Gelfand), with ``k = 2^doublings`` by squaring.

    Products only, where eigenvalues of a matrix that is not symmetric exist on few backends. What
    is left of the error is ``cond^{1/k}``, far below what matters.
    """

    def double(i: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        power, log = state
        power = jnp.matmul(power, power, precision=lax.Precision.HIGHEST)
        norm = jnp.linalg.norm(power)
        return power / norm, log + jnp.log(norm) / 2.0 ** (i + 1)

    norm = jnp.linalg.norm(w)
    return jnp.exp(lax.fori_loop(0, doublings, double, (w / norm, jnp.log(norm)))[1])


@dataclass(frozen=True)
class EchoState(PointwiseCell):
    """Hyperparameters of `echo_state`, with the pure functions of a `Cell`."""

    leak: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.leak <= 1:
            raise ValueError(f"leak must lie in 0 … 1, above 0, not {self.leak}")

    def project(self, params: Params, xs: Array) -> Array:
        """``x W_ih + b``; the weights do not learn."""
        return super().project(lax.stop_gradient(params), xs)

    def step(self, params: Params, carry: Carry, z: Array) -> tuple[Carry, Array]:
        """One step; the weights do not learn."""
        # A step of its own takes the plain scan, where no weight gradient costs anything.
        return super().step(lax.stop_gradient(params), carry, z)

    def pointwise(
        self, theta: Params, carry: Carry, z: tuple[Array, ...], r: tuple[Array, ...]
    ) -> tuple[Carry, Array]:
        """``h_t = (1 - leak) h_{t-1} + leak tanh(z_t + r_t)``."""
        h = (1 - self.leak) * carry + self.leak * jnp.tanh(z[0] + r[0])
        return h, h


def echo_state(
    hidden_size: int,
    *,
    spectral_radius: float = 0.9,
    sparsity: float = 0.9,
    leak: float = 1.0,
    input_scale: float = 1.0,
    bias_scale: float = 0.0,
) -> EchoState:
    """The echo state network: a random recurrent network that is not trained.

    ``h_t = (1 - leak) h_{t-1} + leak tanh(x_t W_ih + h_{t-1} W_hh + b)``, ``y_t = h_t``.

    Only a read-out of its outputs learns, in closed form by `ridge`, or by gradients as a layer
    above. No gradient reaches the cell's own parameters, so that an optimiser leaves them where
    they are, unless it decays weights; gradients do pass through to the inputs and the carry.

    Parameters: ``{"w_ih": [D, H], "w_hh": [H, H], "b": [H]}`` (no "b" with ``bias_scale=0``).
    ``w_ih`` is uniform in ±input_scale, ``b`` in ±bias_scale. In ``w_hh`` each unit has
    ``(1 - sparsity) H`` sources, rounded, one at least, with uniform weights, all scaled so that
    the largest absolute eigenvalue is ``spectral_radius``. It is found by products alone, so that
    ``init`` runs under jit and on every backend.

    Args:
      hidden_size: ``H``.
      spectral_radius: how slowly the past fades; below 1 as a rule.
      sparsity: the fraction of zeros in ``w_hh``.
      leak: how much of the state is renewed in a step; small for slow signals.
      input_scale: the largest input weight.
      bias_scale: the largest bias.

    Returns:
      A `PointwiseCell`; its carry is ``h [B, H]``.

    Raises:
      ValueError: ``hidden_size`` is not a positive integer, or an option is out of its range.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.echo_state(50)
      >>> params = cell.init(jax.random.key(0), 1)
      >>> _, features = rnn_jax.unroll(cell, params, None, jax.numpy.ones((20, 4, 1)))
      >>> features.shape
      (20, 4, 50)

    Reference:
      Jaeger, The "echo state" approach to analysing and training recurrent neural networks, GMD
      Report 148 (2001); Lukoševičius, A practical guide to applying echo state networks (2012).
    """
    return EchoState(
        hidden_size,
        leak,
        w_ih_init=Uniform(input_scale),
        w_hh_init=Reservoir(spectral_radius, sparsity),
        bias=bias_scale != 0,
        b_init=Uniform(bias_scale),
    )
