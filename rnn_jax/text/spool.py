"""Arrays written one after the other and read again: a list that is on the disk."""

from __future__ import annotations

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
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._arrays: list[tuple[np.dtype[Any], int]] = []

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, array: NDArray[Any]) -> None:
        """Write an array behind the others."""
        if len(array):
            self._file.write(np.ascontiguousarray(array).data)
            self._arrays.append((array.dtype, len(array)))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        self._file.seek(0)
        for dtype, size in self._arrays:
            yield np.frombuffer(self._file.read(dtype.itemsize * size), dtype)
