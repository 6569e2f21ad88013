"""Arrays written one after the other and read again: a list that is on the disk."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Spool"]


class Spool:
    """Arrays of integers in a file without a name, which ends with the process however that ends.

    Example:
        >>> with Spool(Path(tempfile.gettempdir())) as spool:
        ...     spool.add(np.array([1, 2], np.uint8))
        ...     spool.add(np.array([300], np.uint16))
        ...     [array.tolist() for array in spool]
        [[1, 2], [300]]
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Without a buffer, which on a full disk would fail once more when it is closed.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._arrays: list[tuple[np.dtype[Any], int]] = []

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, array: NDArray[Any]) -> None:
        """Write an array behind the others."""
        if len(array):
            view = np.ascontiguousarray(array).view(np.uint8).data
            while view:
                view = view[self._file.write(view) :]
            self._arrays.append((array.dtype, len(array)))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        self._file.seek(0)
        for dtype, size in self._arrays:
            array = np.empty(size, dtype)
            view = array.view(np.uint8).data
            while view:
                if not (got := self._file.readinto(view)):
                    raise OSError(errno.EIO, "a temporary file was cut off")
                view = view[got:]
            yield array
