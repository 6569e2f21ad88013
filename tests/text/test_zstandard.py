"""Zstandard's frames: no more in memory than asked for, and no file that was cut off is taken."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest

from rnn_jax.text.zstandard import Zstandard

library: Any = pytest.importorskip("zstandard")
SKIPPED = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"


def test_a_few_bytes_that_stand_for_many() -> None:
    size = 1 << 25
    file = Zstandard(library, io.BytesIO(library.compress(bytes(size))))
    read = [len(content) for content in iter(lambda: file.read(1 << 20), b"")]
    assert sum(read) == size and max(read) <= 1 << 20


def frames() -> list[tuple[bytes, bytes]]:
    """Frames of every kind with what is in them."""
    noise = random.Random(0).randbytes(300)
    contents = [b"", b"a", noise, b"word " * 200, bytes(70_000), noise * 3]
    found = [(SKIPPED, b""), (SKIPPED[:4] + bytes(4), b"")]
    for content in contents:
        for checksum in (False, True):
            for sized in (False, True):
                compressor = library.ZstdCompressor(
                    write_checksum=checksum, write_content_size=sized
                )
                found.append((compressor.compress(content), content))
        parts = library.ZstdCompressor().compressobj()
        found.append((parts.compress(content) + parts.flush(), content))
    return found


def all_of(content: bytes, size: int = 1000) -> bytes:
    file = Zstandard(library, io.BytesIO(content))
    return b"".join(iter(lambda: file.read(size), b""))


def test_whatever_is_cut_off_is_found() -> None:
    known = frames()
    for frame, content in known:
        assert all_of(frame) == content
        for end in range(1, len(frame), 1 + len(frame) // 50):
            with pytest.raises(EOFError):
                all_of(known[5][0] + frame[:end])
        with pytest.raises(EOFError):
            all_of(frame[:-1])
    assert all_of(b"") == b""
    together = b"".join(frame for frame, _ in known)
    for size in (1, 7, 1 << 20):
        assert all_of(together, size) == b"".join(content for _, content in known)
    with pytest.raises(EOFError):
        all_of(b"no frame at all")
