"""Whether a model can fit this machine at all, asked before its arrays are made."""

from __future__ import annotations

import math
import os

import jax

from rnn_jax.types import Model

__all__ = ["check_memory"]


def check_memory(model: Model) -> None:
    """Raise ValueError if a model's parameters and their gradient exceed the memory.

    Made all the same, they could end the process, or others on the machine, without a word.

    Example:
      >>> import rnn_jax
      >>> check_memory(rnn_jax.language_model(10, rnn_jax.recurrent(rnn_jax.gru(10**6))))
      Traceback (most recent call last):
      ValueError: the model has 3,000,046,000,010 parameters, ... choose smaller sizes
    """
    try:
        shapes = jax.eval_shape(model.init, jax.random.key(0))
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"the model's arrays are too large to have a shape ({error}): choose smaller sizes"
        ) from None
    leaves = jax.tree.leaves(shapes)
    number = sum(math.prod(leaf.shape) for leaf in leaves)
    needed = 2 * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    there = _memory()
    if there is not None and needed > there:
        raise ValueError(
            f"the model has {number:,} parameters, which with their gradient take "
            f"{needed / 2**30:,.1f} GiB of the {there / 2**30:,.1f} GiB here: choose smaller sizes"
        )


def _memory() -> int | None:
    """The bytes of the device's memory, or of the machine's where that is the device's."""
    device = jax.devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is not None:
        return int(limit)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
