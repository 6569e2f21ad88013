"""``gradient_scale``: factors ``float[T, B]`` on the gradient of a carry, not on its value."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import expand
from rnn_jax.jaxprs import scan, vary_alike
from rnn_jax.types import Array, Carry, Steps

__all__ = ["scale_gradient", "settled", "times"]


def scale_gradient(carry: Carry, factor: Array) -> Carry:
    """``sg(c) + g · (c - sg(c))``: the value of ``c``, its gradient times ``g``.

    What is not a floating-point array in the carry is left as it is.

    Example:
      >>> value, gradient = jax.value_and_grad(scale_gradient)(jnp.array(2.0), jnp.array(0.5))
      >>> float(value), float(gradient)
      (2.0, 0.5)
    """

    def one(c: Array) -> Array:
        if not jnp.issubdtype(c.dtype, jnp.inexact):
            return c
        held, g = lax.stop_gradient(c), expand(factor, c).astype(c.dtype)
        moved = jnp.where(jnp.isfinite(held), c - held, 0)  # infinity less infinity is no number
        # Chosen, not multiplied: where it is cut, an infinite gradient would come through as NaN.
        return jnp.where(g == 0, held, jnp.where(g == 1, c, held + g * moved))

    return jax.tree.map(one, carry)


def times(gradient: Array, factor: Array) -> Array:
    """``g · gradient``; zero where ``g`` is, even if the gradient is infinite."""
    g = expand(factor, gradient).astype(gradient.dtype)
    return jnp.where(g == 0, jnp.zeros_like(gradient), g * gradient)


def settled(steps: Steps, *, reverse: bool) -> Steps:
    """Factors and resets on the steps before which they act, in the order in which steps are run.

    Those of masked steps act on the next valid one: a held carry is the carry of the last valid
    step, and were its gradient scaled while it is held, padding behind a sequence would change the
    gradient of its final carry. In reverse the boundary before step t, which a reset marks, is met
    after that step. Whatever cuts a sequence must settle it before.
    """
    mask, scale, resets = steps
    if resets is not None and reverse:
        resets = jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])
    if mask is not None and scale is not None:
        scale = _delayed(scale, mask, reverse)
    if mask is not None and resets is not None:
        resets = _delayed(1.0 - resets, mask, reverse) == 0
    return Steps(mask, scale, resets)


def _delayed(factors: Array, mask: Array, reverse: bool) -> Array:
    """Factors of masked steps multiplied into the next valid step's, and ones in their place."""

    def body(pending: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        factor, valid = step
        pending = pending * factor
        one = jnp.ones_like(pending)
        return jnp.where(valid, one, pending), jnp.where(valid, pending, one)

    ones = jnp.ones(factors.shape[1:], factors.dtype)
    ones, factors, mask = vary_alike((ones, factors, mask))
    delayed: Array = scan(body, ones, (factors, mask), reverse=reverse)[1]
    return delayed
