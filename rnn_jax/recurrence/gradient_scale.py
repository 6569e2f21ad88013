"""Gates ``float[T, B]``: factors on the gradient of a carry, which leave its value alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import expand
from rnn_jax.types import Array, Carry

__all__ = ["gate_gradient", "settled"]


def gate_gradient(carry: Carry, factor: Array) -> Carry:
    """``sg(c) + g · (c - sg(c))``: the value of ``c``, its gradient times ``g [B]``."""

    def one(c: Array) -> Array:
        held = lax.stop_gradient(c)
        return held + expand(factor, c).astype(c.dtype) * (c - held)

    return jax.tree.map(one, carry)


def settled(
    gate: Array | None, resets: Array | None, mask: Array | None, *, reverse: bool
) -> tuple[Array | None, Array | None]:
    """Gates and resets on the steps before which they act, in the order in which steps are run.

    Those of masked steps act on the next valid one: a held carry is the carry of the last valid
    step, and were it gated while held, padding behind a sequence would change the gradient of its
    final carry. In reverse the boundary before step t, which a reset marks, is met after that step.
    """
    if resets is not None and reverse:
        resets = jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])
    if mask is not None and gate is not None:
        gate = _delayed(gate, mask, reverse)
    if mask is not None and resets is not None:
        resets = _delayed(1.0 - resets, mask, reverse) == 0
    return gate, resets


def _delayed(factors: Array, mask: Array, reverse: bool) -> Array:
    """Factors of masked steps multiplied into the next valid step's, and ones in their place."""

    def body(pending: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        factor, valid = step
        pending = pending * factor
        one = jnp.ones_like(pending)
        return jnp.where(valid, one, pending), jnp.where(valid, pending, one)

    ones = jnp.ones(factors.shape[1:], factors.dtype)
    return lax.scan(body, ones, (factors, mask), reverse=reverse)[1]
