"""Whether arrays can fit this machine at all, asked before they are made.

Made all the same, they could end the process, or others on the machine, without a word.
"""

from __future__ import annotations

import math
import os

import jax

from rnn_jax.types import Model

__all__ = ["check_bytes", "check_memory"]


def check_bytes(needed: int, what: str) -> None:
    """Raise ValueError if what takes so many bytes exceeds the memory.

    Example:
      >>> check_bytes(2**70, "the batch takes")
      Traceback (most recent call last):
      ValueError: the batch takes 1,099,511,627,776.0 GiB of the ... here: choose smaller sizes
    """
    there = _memory()
    if there is not None and needed > there:
        raise ValueError(
            f"{what} {needed / 2**30:,.1f} GiB of the {there / 2**30:,.1f} GiB here: "
            "choose smaller sizes"
        )


def check_memory(model: Model) -> None:
    """Raise ValueError if a model's parameters and their gradient exceed the memory.

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
    check_bytes(needed, f"the model has {number:,} parameters, which with their gradient take")


def _memory() -> int | None:
    """The bytes of the device's memory, or of the machine's where that is the device's."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is not None:
        return int(limit)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
