"""Files in Zstandard's frames, read in bounded memory."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, BinaryIO

__all__ = ["Zstandard"]

_SKIPPED = 0x184D2A5  # the magic number of a frame without data, but for its last four bits
_REPEATED = 1  # the kind of a block that is one byte, many times
_HEAD = 4  # bytes: no field that says how a frame goes on is longer


class Zstandard:
    """The bytes of a file; one that was cut off raises EOFError, as gzip does.

    Args:
        library: the module ``zstandard``.
        file: it must be open for reading.
    """

    def __init__(self, library: Any, file: BinaryIO) -> None:
        self._error = library.ZstdError
        self._frames = _Frames(file)
        # A few bytes may stand for gigabytes, which an object that decompresses would all return.
        self._reader = library.ZstdDecompressor().stream_reader(
            self._frames, read_across_frames=True
        )

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        try:
            content: bytes = self._reader.read(size)
        except self._error as error:
            raise EOFError(error) from error
        if not content and not self._frames.ended:
            raise EOFError("it ends within a frame")
        return content


class _Frames:
    """A file that follows its frames as it is read, for the library does not say how it ended."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._layout = _layout()
        self._missing, self._between = next(self._layout)
        self._head = b""  # of the part at hand

    @property
    def ended(self) -> bool:
        """Whether what was read ends with a frame."""
        return self._between and not self._head

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        place = 0
        while place < len(content):
            taken = min(self._missing, len(content) - place)
            self._head += content[place : place + min(taken, _HEAD - len(self._head))]
            place += taken
            self._missing -= taken
            if not self._missing:
                self._missing, self._between = self._layout.send(self._head)
                self._head = b""
        return content


def _layout() -> Generator[tuple[int, bool], bytes, None]:
    """The sizes of the parts of a file, and whether a frame begins there; RFC 8878, section 3.

    It is sent the first bytes of each part.
    """
    while True:
        magic = int.from_bytes((yield 4, True), "little")
        if magic >> 4 == _SKIPPED:
            if size := int.from_bytes((yield 4, False), "little"):
                yield size, False
            continue
        flags = (yield 1, False)[0]
        whole = flags >> 5 & 1  # in one segment: without the size of a window
        yield (1 - whole) + (0, 1, 2, 4)[flags & 3] + (whole, 2, 4, 8)[flags >> 6], False
        last = 0
        while not last:
            block = int.from_bytes((yield 3, False), "little")
            last, kind, size = block & 1, block >> 1 & 3, block >> 3
            if size := 1 if kind == _REPEATED else size:
                yield size, False
        if flags & 4:  # a checksum
            yield 4, False
