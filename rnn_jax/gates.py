"""Gates ``float[T, B]``: factors on the gradient of a carry, which leave its value alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.masking import expand
from rnn_jax.types import Array, Carry

__all__ = ["delay_to_valid_steps", "gate_gradient"]


def gate_gradient(carry: Carry, factor: Array) -> Carry:
    """``sg(c) + g · (c - sg(c))``: the value of ``c``, its gradient times ``g [B]``."""

    def one(c: Array) -> Array:
        held = lax.stop_gradient(c)
        return held + expand(factor, c).astype(c.dtype) * (c - held)

    return jax.tree.map(one, carry)


def delay_to_valid_steps(gate: Array, mask: Array, reverse: bool) -> Array:
    """Gates of masked steps multiplied into the next valid step's, and ones in their place.

    A held carry is the carry of the last valid step: were it gated while held, padding behind a
    sequence would change the gradient of its final carry.
    """

    def body(pending: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        factor, valid = step
        pending = pending * factor
        one = jnp.ones_like(pending)
        return jnp.where(valid, one, pending), jnp.where(valid, pending, one)

    ones = jnp.ones(gate.shape[1:], gate.dtype)
    return lax.scan(body, ones, (gate, mask), reverse=reverse)[1]
