"""A text as numbers in one file that is read where it lies, however long the text is.

Layout, little-endian, every section at a multiple of 8 bytes::

    8 bytes   magic
    4         version of the format
    4         zero
    8, 8      place and length of the description
    32        SHA-256 of the description
    …         the ids, uint16 or uint32
    …         uint64: where each sentence begins, and where the last one ends; empty for a stream
    …         uint64: where each document begins
    …         uint32: the CRC-32 of each block of all that stands between byte 64 and here
    …         the description, JSON

The description stands last because the number of tokens and their vocabulary are known last.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import weakref
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnn_jax.host.files import Row, reason
from rnn_jax.text.checked_file import CheckedFile
from rnn_jax.text.vocabulary import Vocabulary

__all__ = ["BLOCK", "MAGIC", "PREAMBLE", "SUFFIX", "VERSION", "TokenFile", "id_dtype"]

SUFFIX = ".tokens"

MAGIC = b"RNNTOK\r\n"
VERSION = 1
PREAMBLE = struct.Struct("<8sIIQQ32s")
BLOCK = 1 << 22  # bytes under one checksum

Ids = NDArray[np.unsignedinteger[Any]]


def id_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The dtype of ids below ``vocab_size`` in a file: 16 bits where they suffice, else 32.

    Example:
        >>> id_dtype(65_536).name, id_dtype(65_537).name
        ('uint16', 'uint32')
    """
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


@dataclass(frozen=True, eq=False)
class TokenFile:
    """Tokens in a file, opened for reading; nothing of them is in memory until it is asked for.

    `ids`, `sentences` and `documents` are memory-mapped: what is touched of them counts as memory
    of the process for as long as the system has room for it. `read`, `gather`, `read_sentences` and
    `read_documents` copy what they return and leave nothing behind; a block of the file is compared
    with its checksum when it is first read so. All may be used from several threads.

    Args:
        path: the file.
        description: what the file says of itself.

    Example:
        >>> import tempfile
        >>> from rnn_jax.text import write_tokens
        >>> path = Path(tempfile.mkdtemp(), "abba.tokens")
        >>> write_tokens(path, [[0, 1], [1, 0]], Vocabulary(("a", "b")), documents=[[0, 2]])
        >>> with TokenFile.open(path) as tokens:
        ...     len(tokens), tokens.read(1, 3), tokens.documents, tokens.vocabulary.tokens
        (4, array([1, 1], dtype=uint16), array([0, 2], dtype=uint64), ('a', 'b'))
    """

    path: Path
    description: Row = field(repr=False)
    _file: BinaryIO = field(repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a file after a check that costs nothing: of sizes and of the description's checksum.

        Raises:
            ValueError: the file is missing, of another kind or version, cut off or damaged.
        """
        path = Path(path)
        try:
            file = path.open("rb", buffering=0)
        except OSError as error:
            raise ValueError(
                f"the token file {path} cannot be read ({reason(error)}): give one that rnn-jax "
                "tokenize has written"
            ) from error
        try:
            return cls(path, _description(path, file), file)
        except BaseException:
            file.close()
            raise

    def __post_init__(self) -> None:
        # Who forgets to close a file must not be warned of it, as long as nobody can use it.
        weakref.finalize(self, self._file.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; arrays that were mapped stay valid, and others raise ValueError."""
        self._file.close()

    def __len__(self) -> int:
        """The number of tokens."""
        return int(self.description["sections"]["ids"][1]) // self.dtype.itemsize

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """uint16 or uint32."""
        return np.dtype(str(self.description["dtype"]))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens that the ids stand for."""
        content = self.description["vocabulary"]
        return Vocabulary(tuple(content["tokens"]), content["unknown"])

    @property
    def settings(self) -> Row:
        """How the text was tokenised."""
        return dict(self.description["settings"])

    @property
    def sha256(self) -> str:
        """The hash of the corpus's files, one after the other as they are on the disk.

        With ``max_sentences`` or ``max_tokens`` it is that of the parts that were read, which can
        be compared only with that of another file made with the same limits.
        """
        return str(self.description["source"].get("sha256", ""))

    @cached_property
    def ids(self) -> Ids:
        """uint16[N] or uint32[N], memory-mapped."""
        return self._mapped("ids", self.dtype)

    @cached_property
    def sentences(self) -> NDArray[np.uint64]:
        """uint64[S+1], memory-mapped: sentence i is ``ids[s[i]:s[i+1]]``; empty for a stream."""
        return self._mapped("sentences", np.dtype("<u8"))

    @cached_property
    def documents(self) -> NDArray[np.uint64]:
        """uint64[D], memory-mapped: where in the ids each document begins."""
        return self._mapped("documents", np.dtype("<u8"))

    def read(self, start: int = 0, stop: int | None = None) -> Ids:
        """Tokens ``start`` to ``stop`` in an array of their own, with the meaning of a slice."""
        self._expect_open()
        start, stop, _ = slice(start, stop).indices(len(self))
        out = np.empty(max(0, stop - start), self.dtype)
        self._fill(out, start)
        return out

    def gather(self, starts: ArrayLike, length: int) -> Ids:
        """Windows of the text: row i of ``[len(starts), length]`` begins at token ``starts[i]``.

        Raises:
            ValueError: a window reaches beyond the text.
        """
        self._expect_open()
        begins = np.asarray(starts, np.int64).reshape(-1)
        if begins.size and (length < 0 or begins.min() < 0 or begins.max() + length > len(self)):
            raise ValueError(
                f"a window of {length} tokens reaches beyond the {len(self):,} of {self.path}: "
                "make it shorter, or let it begin earlier"
            )
        out = np.empty((len(begins), length), self.dtype)
        first = self.description["sections"]["ids"][0]
        self._checked.fill_rows(out, first + begins * out.itemsize)
        return out

    def read_sentences(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint64]:
        """Entries ``start`` to ``stop`` of `sentences` in an array of their own."""
        return self._places("sentences", start, stop)

    def read_documents(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint64]:
        """Entries ``start`` to ``stop`` of `documents` in an array of their own."""
        return self._places("documents", start, stop)

    @property
    def sentence_count(self) -> int:
        """The number of sentences; 0 for a stream."""
        return max(0, self._entries("sentences") - 1)

    @property
    def document_count(self) -> int:
        """The number of documents."""
        return self._entries("documents")

    def verify(self) -> None:
        """Read the whole file and compare every checksum.

        Raises:
            ValueError: a byte is not what was written; the block with it is named.
        """
        self._checked.verify()

    def expect(self, *, vocabulary: Vocabulary | None = None, settings: Row | None = None) -> None:
        """Raise ValueError, saying what differs, unless the file was made so.

        Args:
            vocabulary: the one that its ids must be of.
            settings: those that it must have been tokenised with; others may be anything.
        """
        differ = []
        for name, wanted in (settings or {}).items():
            found = self.settings.get(name)
            if found != wanted:
                differ.append(f"its {name} is {found!r} and not {wanted!r}")
        if vocabulary is not None and vocabulary != self.vocabulary:
            differ.append(_difference(self.vocabulary, vocabulary))
        if differ:
            raise ValueError(
                f"the token file {self.path} does not fit: {'; '.join(differ)}: tokenise the text "
                "again with the settings and the vocabulary of this run"
            )

    def _mapped(self, section: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        start, size = self.description["sections"][section]
        if not size:  # which cannot be mapped
            return np.zeros(0, dtype)
        self._expect_open()
        # Of the file that was opened, and not of one that has taken its place since.
        try:
            content = mmap.mmap(self._file.fileno(), start + size, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise ValueError(
                f"the token file {self.path} was cut off while it was read: tokenise the text again"
            ) from error
        return np.frombuffer(content, dtype, size // dtype.itemsize, start)

    def _expect_open(self) -> None:
        if self._file.closed:
            raise ValueError(f"the token file {self.path} is closed: open it anew to read more")

    @cached_property
    def _checked(self) -> CheckedFile:
        return CheckedFile(
            self.path,
            self._file,
            begin=PREAMBLE.size,
            end=self.description["sections"]["checksums"][0],
            block=int(self.description["block"]),
            sums=lambda: self._sums,
        )

    @cached_property
    def _sums(self) -> NDArray[np.uint32]:
        return self._mapped("checksums", np.dtype("<u4"))

    def _entries(self, section: str) -> int:
        return int(self.description["sections"][section][1]) // 8

    def _places(self, section: str, start: int, stop: int | None) -> NDArray[np.uint64]:
        start, stop, _ = slice(start, stop).indices(self._entries(section))
        self._expect_open()
        out = np.empty(max(0, stop - start), "<u8")
        self._checked.fill(out, self.description["sections"][section][0] + 8 * start)
        return out

    def _fill(self, out: Ids, start: int) -> None:
        begin = self.description["sections"]["ids"][0]
        self._checked.fill(out, begin + start * out.itemsize)


def _description(path: Path, file: BinaryIO) -> Row:
    """What a file says of itself, checked as far as that costs nothing."""
    size = os.fstat(file.fileno()).st_size
    begin = file.read(PREAMBLE.size)
    if begin[:8] != MAGIC:
        raise ValueError(f"{path} is not a token file: give one that rnn-jax tokenize has written")
    damaged = ValueError(
        f"the token file {path} is cut off or damaged: remove it and tokenise the text again"
    )
    if len(begin) < PREAMBLE.size:
        raise damaged
    _, version, zero, place, length, digest = PREAMBLE.unpack(begin)
    if version != VERSION:
        raise ValueError(
            f"the token file {path} is of version {version}, and this rnn_jax reads {VERSION}: "
            "tokenise the text again, or install the version that wrote it"
        )
    if zero or place + length != size:
        raise damaged
    file.seek(place)
    description = _all(file, length)
    if hashlib.sha256(description).digest() != digest:
        raise damaged
    content: Row = json.loads(description)
    start, length = content["sections"]["checksums"]
    file.seek(start)
    if hashlib.sha256(_all(file, length)).hexdigest() != content["sums"]:
        raise damaged
    return content


def _all(file: BinaryIO, size: int) -> bytes:
    """The next bytes of a raw file, of which one call may give fewer than asked for."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _difference(found: Vocabulary, wanted: Vocabulary) -> str:
    if len(found) != len(wanted):
        return f"its vocabulary has {len(found):,} tokens and not {len(wanted):,}"
    for number, (one, other) in enumerate(zip(found.tokens, wanted.tokens, strict=True)):
        if one != other:
            return f"id {number} of its vocabulary is {one!r} and not {other!r}"
    return f"the unknown token of its vocabulary is {found.unknown} and not {wanted.unknown}"
