"""A file that is read in place, and whose blocks are compared with their checksums on the way."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["CheckedFile"]


class CheckedFile:
    """Bytes of a file, with a CRC-32 for each block of them; for several threads.

    A block is compared when something of it is first read, so that opening costs nothing, reading
    the file once costs one more pass, and no damaged byte is ever used.

    Args:
        path: for messages.
        file: opened for reading, without a buffer.
        begin, end: what the checksums are of.
        block: the bytes under one of them.
        sums: reads them, uint32 for each block, when they are first needed.
    """

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        *,
        begin: int,
        end: int,
        block: int,
        sums: Callable[[], NDArray[Any]],
    ) -> None:
        self._path, self._file = path, file
        self._begin, self._end, self._block = begin, end, block
        self._sums, self._good = sums, bytearray(-(-(end - begin) // block))
        self._lock = threading.Lock()

    def fill(self, out: NDArray[Any], start: int) -> None:
        """Fill an array with the bytes from ``start`` on.

        Raises:
            ValueError: a byte around them is not what was written, or the file has become shorter.
        """
        self.fill_rows(out.reshape(1, -1), np.array([start]))

    def fill_rows(self, out: NDArray[Any], starts: NDArray[np.int64]) -> None:
        """Fill each row of an array ``[len(starts), …]`` with the bytes from its start on."""
        if not out.nbytes:
            return
        size = out.nbytes // len(starts)
        firsts = (starts - self._begin) // self._block
        lasts = (starts + (size - 1) - self._begin) // self._block
        for first, last in {*zip(firsts.tolist(), lasts.tolist(), strict=True)}:
            for number in range(first, last + 1):
                if not self._good[number]:
                    self.check(number)
        view = out.reshape(-1).view(np.uint8).data
        with self._lock:  # one place in the file for all threads
            for row, start in enumerate(starts.tolist()):
                self._fill(view[row * size : (row + 1) * size], start)

    def check(self, number: int) -> None:
        """Read a block and compare its checksum.

        Raises:
            ValueError: it is another one.
        """
        start = self._begin + number * self._block
        content = np.empty(min(self._block, self._end - start), np.uint8)
        with self._lock:
            self._fill(content.data, start)
        if zlib.crc32(content.data) != int(self._sums()[number]):
            raise ValueError(
                f"the token file {self._path} is damaged between bytes {start:,} and "
                f"{start + len(content):,}: remove it and tokenise the text again"
            )
        self._good[number] = 1

    def verify(self) -> None:
        """Check all blocks, those that were found good before, too."""
        for number in range(len(self._good)):
            self.check(number)

    def _fill(self, view: memoryview, start: int) -> None:
        self._file.seek(start)
        while view:
            got = self._file.readinto(view)  # type: ignore[attr-defined]
            if not got:
                raise ValueError(
                    f"the token file {self._path} was cut off while it was read: tokenise the "
                    "text again"
                )
            view = view[got:]
