"""The carry before every step of a sequence."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rnn_jax.types import Array, Carry

__all__ = ["carries_before"]


def carries_before(carry: Carry, after: Carry) -> Carry:
    """The carry before every step, ``[T, B, …]``: the first one, then each step's but the last's.

    Example:
      >>> import jax.numpy as jnp
      >>> carries_before(jnp.array(7), jnp.array([1, 2, 3])).tolist()
      [7, 1, 2]
    """

    def shift(first: Array, rest: Array) -> Array:
        first = jnp.asarray(first, rest.dtype)
        return jnp.concatenate([first[None], rest])[: len(rest)]

    return jax.tree.map(shift, carry, after)
