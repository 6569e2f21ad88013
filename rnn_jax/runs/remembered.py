"""Figures of a long text that are found once and kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_jax.host.checksums import checksum_of_json
from rnn_jax.text.cache import load_arrays, store_arrays

__all__ = ["remembered", "token_counts"]

_MANY = 1 << 20  # of fewer it is faster to count again

Arrays = dict[str, NDArray[np.int64]]


def remembered(name: Sequence[Any], size: int, find: Callable[[], Arrays]) -> Arrays:
    """What ``find`` gives; of many things it is kept in the cache.

    Args:
        name: all on which it depends, as JSON.
        size: how many things are looked at.
        find: looks at them.
    """
    if size < _MANY:
        return find()
    key = f"figures-{checksum_of_json(name)}"
    kept = load_arrays(key)
    if kept is not None:
        return {side: array.astype(np.int64) for side, array in kept.items()}
    found = find()
    store_arrays(key, dict(found))
    return found


def token_counts(
    blocks: Iterable[NDArray[np.integer[Any]]], vocab_size: int, name: Sequence[Any], size: int
) -> NDArray[np.int64]:
    """int64[V]: how often each id occurs in a text that is read block by block."""

    def count() -> Arrays:
        found = np.zeros(vocab_size, np.int64)
        for block in blocks:
            found += np.bincount(block, minlength=vocab_size)
        return {"counts": found}

    return remembered(["counts", vocab_size, *name], size, count)["counts"]
