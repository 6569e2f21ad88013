"""Corpora by name or by path: where they are, and their texts."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnn_jax.text import python_docs
from rnn_jax.text.cache import load_arrays, store_arrays
from rnn_jax.text.formats import COMPRESSIONS, KINDS, Piece, Reading, kind_of, read_pieces
from rnn_jax.text.named import NAMED_CORPORA, named_file

DEFAULT_CORPUS = "python-docs"

_ANY = ("utf-8", "surrogatepass")  # Python text may contain lone surrogates


@dataclass(frozen=True)
class Documents:
    """Texts to be tokenized one by one.

    Args:
        name: the name of the corpus or of the file.
        texts: one for each row of a CSV, for a text file, or for each paragraph of the Python
            documentation.
        sha256: the hash of the file, or of the texts where there is no file.
        origin: where the texts come from, in words.
    """

    name: str
    texts: tuple[str, ...]
    sha256: str
    origin: str


@dataclass(frozen=True)
class Source:
    """A corpus that is found, and not read yet.

    Args:
        name: the name of the corpus, of its file, or of the first of its files.
        origin: where its texts come from, in words.
        files: what is read, in this order.
        column: the column of a table, or the key of a record, that holds the text.
        texts: those of a corpus without files.
    """

    name: str
    origin: str
    files: tuple[Path, ...] = ()
    column: str = "body"
    texts: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of all files, as they are on the disk."""
        return sum(path.stat().st_size for path in self.files) + sum(map(len, self.texts))

    def identity(self) -> list[str | int]:
        """What tells this corpus from others without reading it: names, sizes and times."""
        if self.texts:
            return [self.name, hashlib.sha256("\f".join(self.texts).encode(*_ANY)).hexdigest()]
        stats = [(path, path.stat()) for path in self.files]
        return [
            self.column,
            *(x for p, s in stats for x in (str(p.resolve()), s.st_size, s.st_mtime_ns)),
        ]

    def pieces(self, reading: Reading | None = None) -> Generator[Piece, None, None]:
        """The texts that are not blank, in pieces, so that none need be in memory as a whole.

        Args:
            reading: counts the bytes that are read.

        Raises:
            ValueError: a file cannot be read or decoded, or there is no text.
        """
        empty = True
        for piece in _not_blank(self._all_pieces(reading or Reading())):
            empty = False
            yield piece
        if empty:
            files = ", ".join(map(str, self.files[:3])) + (", …" if len(self.files) > 3 else "")
            raise ValueError(
                f"the corpus {files} is empty; give --corpus a file that contains text"
            )

    def _all_pieces(self, reading: Reading) -> Iterator[Piece]:
        for number, text in enumerate(self.texts):
            reading.add((f"\f{text}" if number else text).encode(*_ANY))
            yield Piece(text, True)
        for path in self.files:
            yield from read_pieces(path, self.column, reading)


def find_source(corpus: str | Sequence[str], *, column: str = "body") -> Source:
    """Find a corpus, without reading it.

    Args:
        corpus: "python-docs", a name in `NAMED_CORPORA`, or the path of a file, a folder, or a
            pattern such as ``texts/*.txt``; or several of these. Files end in .txt, .csv, .tsv,
            .jsonl or .parquet, all but the last perhaps followed by .gz, .xz or .zst. Folders are
            read with all folders in them, files of other kinds left out, in the order of their
            paths. A file that is named twice, in whatever way, is read once. A named corpus is
            looked for in $RNN_JAX_DATA, in ``data/`` of the working folder and of the package's
            checkout, and in the cache; then it is downloaded.
        column: the column of a table, or the key of a record, that holds the text.

    Raises:
        ValueError: the corpus is unknown, missing, of another kind, or not the file that its name
            stands for, or it cannot be downloaded.
    """
    given = [corpus] if isinstance(corpus, str) else list(corpus)
    if not given:
        raise ValueError("--corpus names nothing; give a file or a folder")
    if given == [DEFAULT_CORPUS]:
        return _python_docs()
    if DEFAULT_CORPUS in given:
        raise ValueError(f"--corpus {DEFAULT_CORPUS} has no files: give it alone")
    once: dict[Path, Path] = {}
    for one in given:
        for path in _files(one):
            once.setdefault(path.resolve(), path)
    files = tuple(once.values())
    if len(given) == 1 and given[0] in NAMED_CORPORA:
        name = given[0]
    else:
        name = files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    origin = f"file {files[0]}" if len(files) == 1 else f"{len(files)} files, {files[0]} the first"
    return Source(name, origin, files, column)


def read_documents(corpus: str | Sequence[str], *, column: str = "body") -> Documents:
    """Read a corpus into memory; `Source.pieces` reads one that does not fit.

    Args:
        corpus: as for `find_source`.
        column: the column of a table, or the key of a record, that holds the text.

    Returns:
        Its texts that are not blank, at least one.

    Raises:
        ValueError: as `find_source`, or the corpus is empty, not UTF-8, or has no such column.
    """
    source = find_source(corpus, column=column)
    reading = Reading()
    texts: list[list[str]] = []
    for text, begins in source.pieces(reading):
        if begins:
            texts.append([])
        texts[-1].append(text)
    joined = tuple("".join(parts) for parts in texts)
    return Documents(source.name, joined, reading.digest.hexdigest(), source.origin)


def _not_blank(pieces: Iterator[Piece]) -> Iterator[Piece]:
    held: list[Piece] = []  # the blank beginning of a text that may go on
    blank = True
    for piece in pieces:
        if piece.begins:
            held, blank = [], True
        if not blank:
            yield piece
        elif piece.text.strip():
            yield from held
            yield piece
            blank = False
        else:
            held.append(piece)


def _python_docs() -> Source:
    # Parsing the standard library takes seconds, listing its files milliseconds.
    key = f"python-docs-{python_docs.fingerprint()[:32]}"
    cached = load_arrays(key)
    if cached is not None and "text" in cached:
        content = cached["text"].tobytes()
    else:
        joined = "\f".join(text.replace("\f", "\n") for text in python_docs.collect())
        content = joined.encode(*_ANY)
        store_arrays(key, {"text": np.frombuffer(content, np.uint8)})
    texts = tuple(content.decode(*_ANY).split("\f"))
    if not any(texts):
        raise ValueError("this Python comes without documentation; give --corpus a file")
    version = sys.version.split()[0]
    origin = f"docstrings and topics of Python {version}"
    return Source(DEFAULT_CORPUS, origin, texts=texts)


def _files(corpus: str) -> list[Path]:
    """The files that one name, path or pattern stands for."""
    if corpus in NAMED_CORPORA:
        return [named_file(NAMED_CORPORA[corpus])]
    path = Path(os.path.expanduser(corpus))
    endings = f"{', '.join(KINDS)}, perhaps followed by {', '.join(COMPRESSIONS)}"
    if os.path.isdir(path):
        seen = (p for p in path.rglob("*") if _is_seen(p.relative_to(path)))
        found = sorted(p for p in seen if kind_of(p) and not p.is_dir())
        if not found:
            raise ValueError(f"--corpus {corpus} is a folder without a file that ends in {endings}")
        return [p for p in found if _is_file(p)]
    if not os.path.exists(path) and glob.has_magic(corpus):
        matches = map(Path, glob.glob(str(path), recursive=True))
        found = sorted(p for p in matches if kind_of(p) and not p.is_dir() and _is_file(p))
        if not found:
            raise ValueError(
                f"--corpus {corpus} matches no file that ends in {endings}; correct the pattern"
            )
        return found
    names = ", ".join([DEFAULT_CORPUS, *NAMED_CORPORA])
    if kind_of(path) is None and path.is_file():
        raise ValueError(
            f"--corpus {corpus} has a name of no kind that is read: give it one that ends in "
            f"{endings}"
        )
    if kind_of(path) is None:
        raise ValueError(
            f"--corpus {corpus} is unknown; give one of {names}, a folder, or the path of a .txt "
            f"or .csv file ({endings})"
        )
    if not _is_file(path):
        raise ValueError(
            f"--corpus {corpus} does not exist; give an existing file, or one of {names}"
        )
    return [path]


def _is_seen(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def _is_file(path: Path) -> bool:
    """Whether there is a file that can be read to its end; others are refused."""
    if path.exists() and not path.is_file():  # to read a pipe could wait for ever
        raise ValueError(
            f"--corpus {path} is a pipe or a device; save its text in a file, and give that"
        )
    return path.exists()
