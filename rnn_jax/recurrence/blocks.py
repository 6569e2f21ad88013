"""A scan over steps that are prepared a block at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnn_jax.jaxprs import scan

__all__ = ["scan_blocks"]


def scan_blocks(
    body: Callable[[Any, Any], Any],
    carry: Any,
    steps: Any,
    prepare: Callable[[Any], Any],
    *,
    size: int | None,
    reverse: bool,
) -> tuple[Any, Any]:
    """``lax.scan(body, carry, prepare(steps))``, of which only a block is held at once.

    Args:
      body: of the scan.
      carry: before the first step.
      steps: a tree of ``[T, …]``.
      prepare: from some steps to what ``body`` reads of them.
      size: steps of a block; None for all.
      reverse: from the last step to the first.

    Returns:
      The carry after the last step and what ``body`` gave at each.

    Example:
      >>> add = lambda total, x: (total + x, total + x)
      >>> scan_blocks(add, 0, jnp.arange(5), lambda x: 2 * x, size=2, reverse=False)[1]
      Array([ 0,  2,  6, 12, 20], dtype=int32)
    """

    def block(carry: Any, steps: Any) -> Any:
        return scan(body, carry, prepare(steps), reverse=reverse)

    length = jax.tree.leaves(steps)[0].shape[0]
    if size is None or length <= size:
        return block(carry, steps)
    count = length // size
    # The steps that fill no block are the last to be taken.
    at = length - count * size if reverse else count * size
    early, late = (jax.tree.map(lambda a, s=s: a[s], steps) for s in (slice(at), slice(at, None)))
    full, others = (late, early) if reverse else (early, late)
    full = jax.tree.map(lambda leaf: leaf.reshape(count, size, *leaf.shape[1:]), full)
    carry, outputs = scan(block, carry, full, reverse=reverse)
    outputs = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), outputs)
    carry, more = block(carry, others)
    pair = (more, outputs) if reverse else (outputs, more)
    return carry, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *pair)
