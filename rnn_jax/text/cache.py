"""The folder that keeps derived and downloaded files between runs, and arrays kept in it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnn_jax.host.checksums import checksum
from rnn_jax.host.files import atomic_path, reason

_CHECKSUM = "checksum"


def cache_folder() -> Path:
    """The cache folder, which need not exist yet.

    Returns:
        $RNN_JAX_CACHE, else $XDG_CACHE_HOME/rnn_jax, else ~/.cache/rnn_jax.
    """
    if own := os.environ.get("RNN_JAX_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~/.cache"))) / "rnn_jax"


def load_arrays(name: str) -> dict[str, NDArray[np.generic]] | None:
    """The arrays stored under a name, or None if there are none or the file is damaged."""
    try:
        # Opened here, because np.load does not close a file that it fails to read.
        with (cache_folder() / f"{name}.npz").open("rb") as file, np.load(file) as archive:
            arrays = dict(archive)
    except Exception:  # a damaged archive raises nearly anything, and costs only time
        return None
    # The archive's own checksums do not cover its headers, which say how an array is to be read.
    kept = arrays.pop(_CHECKSUM, None)
    return arrays if kept is not None and kept.tobytes() == _checksum(arrays) else None


def store_arrays(name: str, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Store arrays under a name; if that is impossible, warn and continue."""
    target = cache_folder() / f"{name}.npz"
    try:
        with atomic_path(target) as temporary, temporary.open("wb") as file:
            kept = np.frombuffer(_checksum(arrays), np.uint8)
            np.savez(file, allow_pickle=False, **arrays, **{_CHECKSUM: kept})
    except OSError as error:
        warnings.warn(
            f"the cache folder {target.parent} cannot be written to ({reason(error)}), so the text "
            "is processed again in every run; set RNN_JAX_CACHE to a writable folder",
            stacklevel=2,
        )


def _checksum(arrays: dict[str, NDArray[np.generic]]) -> bytes:
    parts = (
        part
        for name, array in sorted(arrays.items())
        for part in (f"{name} {array.dtype.str} {array.shape} ".encode(), array.tobytes())
    )
    return checksum(*parts).encode()
