"""Writing a token file: front to back, in the memory of one block, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnn_jax.host.files import Row, atomic_path, reason
from rnn_jax.text import token_file
from rnn_jax.text.token_file import MAGIC, PREAMBLE, VERSION, id_dtype
from rnn_jax.text.vocabulary import Vocabulary

__all__ = ["unwritable", "write_tokens"]


def write_tokens(
    path: str | Path,
    blocks: Iterable[ArrayLike],
    vocabulary: Vocabulary,
    *,
    sentences: Iterable[ArrayLike] = (),
    documents: Iterable[ArrayLike] = (),
    settings: Row | None = None,
    source: Row | None = None,
) -> None:
    """Write a token file, whole or not at all.

    Args:
        path: where it belongs.
        blocks: the ids, block after block, whole numbers below the vocabulary's size.
        vocabulary: what they stand for.
        sentences: in blocks, where each sentence begins and where the last one ends; or none.
        documents: in blocks, where each document begins.
        settings: how the text was tokenised, as JSON.
        source: where the text came from, as JSON: ``sha256``, ``name``, …

    Raises:
        ValueError: the disk is full or the folder cannot be written to, an id is none of the
            vocabulary's, or a sentence or a document begins or ends outside of the text.
    """
    dtype = id_dtype(len(vocabulary))
    path = Path(path)
    try:
        with atomic_path(path) as temporary, temporary.open("r+b") as file:
            out = _Summed(file)
            ids = out.section(_checked(path, "id", blocks, len(vocabulary) - 1), dtype)
            end = ids[1] // dtype.itemsize
            places, long = partial(_checked, path, "place", largest=end), np.dtype("<u8")
            sections = {
                "ids": ids,
                "sentences": out.section(places(blocks=sentences), long),
                "documents": out.section(places(blocks=documents), long),
            }
            place, sums = file.tell(), np.array([*out.sums(), 0], "<u4")[:-1]
            file.write(sums.tobytes())
            sections["checksums"] = (place, sums.nbytes)
            content = {
                "dtype": dtype.str,
                "sections": sections,
                "block": token_file.BLOCK,
                "sums": hashlib.sha256(sums.tobytes()).hexdigest(),
                "vocabulary": {"unknown": vocabulary.unknown, "tokens": vocabulary.tokens},
                "settings": settings or {},
                "source": source or {},
            }
            # ASCII: Python text may hold lone surrogates, which UTF-8 cannot encode.
            description = json.dumps(content).encode()
            place = file.tell()
            file.write(description)
            file.seek(0)
            digest = hashlib.sha256(description).digest()
            file.write(PREAMBLE.pack(MAGIC, VERSION, 0, place, len(description), digest))
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> ValueError:
    """What to say when a token file, or what becomes one, cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ValueError(
            f"the token file {path} cannot be written, for the disk is full: make room, or choose "
            "a folder on another one (RNN_JAX_CACHE for the cache, --out for rnn-jax tokenize)"
        )
    return ValueError(
        f"the token file {path} cannot be written ({reason(error)}): choose a writable folder"
    )


def _checked(
    path: Path, what: str, blocks: Iterable[ArrayLike], largest: int
) -> Iterator[NDArray[Any]]:
    """Blocks of whole numbers from 0 to ``largest``; others would become numbers nobody meant."""
    for block in map(np.asarray, blocks):
        if block.size:
            wrong = None if block.dtype.kind in "iu" else f"of dtype {block.dtype}"
            for number in () if wrong else (int(block.min()), int(block.max())):
                wrong = wrong if 0 <= number <= largest else str(number)
            if wrong:
                raise ValueError(
                    f"the token file {path} cannot hold the {what} {wrong}: give whole numbers "
                    f"from 0 to {largest:,}"
                )
        yield block


class _Summed:
    """A file written front to back, with a checksum for each block behind the preamble."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sums = file, [0]
        self._room = token_file.BLOCK  # in the block at hand
        file.write(bytes(PREAMBLE.size))

    def section(self, blocks: Iterable[ArrayLike], dtype: np.dtype[Any]) -> tuple[int, int]:
        """Write arrays one after the other; the place of the first byte, and how many there are."""
        start = self._file.tell()
        for block in blocks:
            self._write(np.ascontiguousarray(block, dtype).reshape(-1).view(np.uint8))
        size = self._file.tell() - start
        self._write(np.zeros(-size % 8, np.uint8))
        return start, size

    def sums(self) -> list[int]:
        return self._sums if self._room < token_file.BLOCK else self._sums[:-1]

    def _write(self, content: NDArray[np.uint8]) -> None:
        while len(content):
            part = content[: self._room]
            self._file.write(part.data)
            self._sums[-1] = zlib.crc32(part.data, self._sums[-1])
            self._room -= len(part)
            content = content[len(part) :]
            if not self._room:
                self._sums.append(0)
                self._room = token_file.BLOCK
