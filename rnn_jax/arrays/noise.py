"""Noise that depends on the key, the absolute step and, if asked for, the global row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.types import Along, Array, Share

__all__ = ["every_step", "once"]

T = TypeVar("T")
Draw = Callable[[Array, tuple[int, ...]], T]


def every_step(draw: Draw[T], along: Along, length: int, batch_shape: tuple[int, ...]) -> T:
    """``draw`` for each of the absolute steps ``start … start+T-1``, ``[T, B, …]``.

    Noise then depends on the key and the step alone: cutting a sequence, or recomputing a window
    of it, meets the same noise.

    Args:
      draw: from a key and a batch shape to a tree of arrays ``[B, …]``.
      along: whose key, start and rows count.
      length: ``T``.
      batch_shape: of the rows.
    """
    assert along.key is not None
    steps = (along.start + jnp.arange(length)).astype(jnp.uint32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(along.key, steps)
    return jax.vmap(lambda key: _rows(draw, key, along.rows, batch_shape))(keys)


def once(draw: Draw[T], along: Along, batch_shape: tuple[int, ...]) -> T:
    """``draw`` for all steps together, ``[B, …]``: from the key, and from the rows if given."""
    assert along.key is not None
    return _rows(draw, along.key, along.rows, batch_shape)


def _rows(
    draw: Draw[T], key: Array, first: Array | int | Share | None, batch_shape: tuple[int, ...]
) -> T:
    """One draw for the whole batch, or one for each row from its global index."""
    if first is None:
        return draw(key, batch_shape)
    if isinstance(first, Share):
        size, begin = batch_shape[0], first.first
        whole = draw(key, (first.total, *batch_shape[1:]))
        mine: T = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, begin, size), whole)
        return mine
    if not batch_shape:
        return draw(jax.random.fold_in(key, jnp.asarray(first).astype(jnp.uint32)), ())
    rows = (first + jnp.arange(batch_shape[0])).astype(jnp.uint32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    return jax.vmap(lambda key: draw(key, batch_shape[1:]))(keys)
