"""The Mackey-Glass equation, the usual benchmark of reservoirs."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.types import Array

__all__ = ["mackey_glass"]

STEPS = 10  # Euler steps in a unit of time


@partial(jax.jit, static_argnames=("length", "rows", "delay", "washout"))
def mackey_glass(
    key: Array, *, length: int, rows: int, delay: int = 17, washout: int = 1000
) -> Array:
    """Sequences of the chaotic attractor, one value a unit of time.

    ``dy/dt = 0.2 y(t - τ) / (1 + y(t - τ)^10) - 0.1 y(t)`` by Euler steps of 0.1, as Jaeger 2001
    makes them, each row from a random past around 1.2.

    Args:
      key: for the pasts.
      length: ``T``, units of time.
      rows: ``B``.
      delay: ``τ``.
      washout: units of time before the first value.

    Returns:
      ``float[T, B]``, in the default dtype.

    Example:
      >>> import jax
      >>> ys = mackey_glass(jax.random.key(0), length=500, rows=2)
      >>> ys.shape, bool(0.2 < ys.min()), bool(ys.max() < 1.4)
      ((500, 2), True, True)

    Reference:
      Mackey and Glass, Oscillation and chaos in physiological control systems, Science 197 (1977);
      Jaeger, GMD Report 148 (2001), equation 23.
    """
    past = 1.2 + 0.2 * jax.random.uniform(key, (delay * STEPS, rows), minval=-0.5, maxval=0.5)

    def euler(y: Array, delayed: Array) -> tuple[Array, Array]:
        y = y + (0.2 * delayed / (1 + delayed**10) - 0.1 * y) / STEPS
        return y, y

    def unit(past: Array, _: None) -> tuple[Array, Array]:
        y, new = lax.scan(euler, past[-1], past[:STEPS])
        return jnp.concatenate([past[STEPS:], new]), y

    return lax.scan(unit, past, None, washout + length)[1][washout:]
