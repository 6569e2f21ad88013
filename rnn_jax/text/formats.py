"""The texts in a file of any known kind, one after the other, in the memory of one piece."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rnn_jax.host.files import reason
from rnn_jax.text.tables import csv_texts, extra, json_texts, parquet_texts
from rnn_jax.text.zstandard import Zstandard

__all__ = ["COMPRESSIONS", "KINDS", "Piece", "Reading", "kind_of", "read_pieces"]

KINDS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
COMPRESSIONS = (".gz", ".xz", ".zst")

_READ = 1 << 20  # bytes taken from a file at once


class Piece(NamedTuple):
    """A part of a text; ``begins`` says that it is the first of a new one."""

    text: str
    begins: bool


class Reading:
    """How far the reading of files has come: bytes and, as they are on the disk, their hash."""

    def __init__(self) -> None:
        self.done = 0
        self.digest = hashlib.sha256()

    def add(self, content: bytes) -> None:
        """Count bytes that were read."""
        self.done += len(content)
        self.digest.update(content)


def kind_of(path: Path) -> tuple[str, str] | None:
    """The kind of a file and its compression, by its name; None if it is of no known kind.

    Example:
        >>> kind_of(Path("a.b/c.TXT.gz")), kind_of(Path("c.csv")), kind_of(Path("c.pdf"))
        (('.txt', '.gz'), ('.csv', ''), None)
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    kind = suffixes[-1] if suffixes else ""
    if kind not in KINDS or (kind == ".parquet" and compression):
        return None
    return kind, compression


def read_pieces(path: Path, column: str, reading: Reading | None = None) -> Iterator[Piece]:
    """The texts in a file: a .txt is one, in pieces; so is each row, line or record of others.

    Line ends are ``\\n``, whatever the file has.

    Args:
        path: a file of one of the `KINDS`, perhaps compressed.
        column: the column of a table, or the key of a record, that holds the text.
        reading: counts what is read.

    Raises:
        ValueError: the file cannot be read or decoded, is damaged, or has no such column.
    """
    reading = reading or Reading()
    kind, compression = kind_of(path) or ("", "")
    try:
        with path.open("rb") as raw:
            counted = io.BufferedReader(_Counted(raw, reading), _READ)
            if kind == ".parquet":
                yield from _whole(parquet_texts(path, column))
                while counted.read(_READ):  # for the hash
                    pass
                return
            blocks = _decoded(path, _opened(path, counted, compression))
            if kind == ".txt":
                for number, text in enumerate(_universal(blocks)):
                    yield Piece(text, not number)
            else:
                lines = _lines(blocks)
                if kind == ".jsonl":
                    yield from _whole(json_texts(lines, column, path))
                else:
                    delimiter = "," if kind == ".csv" else "\t"
                    yield from _whole(csv_texts(lines, column, path, delimiter))
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise ValueError(
            f"{path} is damaged, or not compressed as its name says ({error}): copy it anew"
        ) from error
    except OSError as error:
        raise ValueError(
            f"--corpus {path} cannot be read ({reason(error)}); give a file that can be read"
        ) from error


def _whole(texts: Iterator[str]) -> Iterator[Piece]:
    for text in texts:
        yield Piece(text.replace("\r\n", "\n").replace("\r", "\n"), True)


class _Counted(io.RawIOBase):
    """A file whose bytes are counted as they are read."""

    def __init__(self, file: BinaryIO, reading: Reading) -> None:
        self._file, self._reading = file, reading

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        self._reading.add(content)
        return len(content)


def _opened(path: Path, file: BinaryIO, compression: str) -> BinaryIO:
    """The bytes of a file without its compression."""
    opened: Any = file
    if compression == ".gz":
        opened = gzip.GzipFile(fileobj=file)
    elif compression == ".xz":
        opened = lzma.LZMAFile(file)  # noqa: SIM115
    elif compression == ".zst":
        zstandard: Any = extra("zstandard", path)
        opened = Zstandard(zstandard, file)
    return opened


def _decoded(path: Path, file: BinaryIO) -> Iterator[str]:
    """The characters of a UTF-8 file, block by block, without a byte order mark."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done, begun = 0, False
    while True:
        block = file.read(_READ)
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            # Not utf-8-sig, whose errors count from after the byte order mark.
            at = error.start
            raise ValueError(
                f"{path} is not UTF-8: the byte 0x{error.object[at]:02x} at offset "
                f"{done - len(pending) + at} cannot be decoded; save the file as UTF-8"
            ) from error
        done += len(block)
        if text:
            yield text if begun else text.removeprefix("\ufeff")
            begun = True
        if not block:
            return


def _universal(blocks: Iterator[str]) -> Iterator[str]:
    decoder = io.IncrementalNewlineDecoder(None, translate=True)
    for block in blocks:
        if text := decoder.decode(block):
            yield text
    if text := decoder.decode("", final=True):
        yield text


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    """The lines of a text with their ends, \\n, \\r\\n or \\r, as the csv module wants them."""
    parts: list[str] = []
    for block in blocks:
        parts.append(block)
        if "\n" in block or "\r" in block:
            *whole, last = io.StringIO("".join(parts), newline="")
            yield from whole
            parts = [last]
            # A line that ends with \r may go on with \n.
            if last.endswith("\n"):
                yield last
                parts = []
    yield from filter(None, ["".join(parts)])
