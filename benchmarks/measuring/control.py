"""The control: a fixed plain-JAX workload that every round times beside what it measures.

A tanh network in float32 under `lax.scan`, forward and backward, with nothing of rnn_jax in it. The
machine's drift is the same for both, so that two runs are compared by their ratios to it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["CONTROL", "control"]

CONTROL = "control"
_BATCH, _LENGTH, _HIDDEN = 16, 32, 128


@cache
def control() -> Callable[[], object]:
    """The compiled call, already warm; it returns when its result is ready."""
    keys = jax.random.split(jax.random.key(0), 2)
    w = jax.random.normal(keys[0], (_HIDDEN, _HIDDEN), jnp.float32) / _HIDDEN**0.5
    zs = jax.random.normal(keys[1], (_LENGTH, _BATCH, _HIDDEN), jnp.float32)

    def loss(w: jax.Array, zs: jax.Array) -> jax.Array:
        def step(h: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(z + h @ w)
            return h, h

        return jnp.sum(lax.scan(step, zs[0] * 0, zs)[1] ** 2)

    with jax.default_matmul_precision("highest"):
        compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(w, zs).compile()

    def call() -> object:
        result: object = jax.block_until_ready(compiled(w, zs))  # type: ignore[no-untyped-call]
        return result

    call()
    return call
