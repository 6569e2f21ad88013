"""Corpora by name or by path: where they are, and their texts."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnn_jax.host.files import reason
from rnn_jax.text import python_docs
from rnn_jax.text.cache import cache_folder, load_arrays, store_arrays
from rnn_jax.text.download import fetch

DEFAULT_CORPUS = "python-docs"


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
class NamedCorpus:
    """A corpus known by name.

    Args:
        name: its name on the command line.
        filename: its name in $RNN_JAX_DATA, ``data/`` and the cache.
        url: where to download it from, or None if it has to be put in place by hand.
        sha256: the hash of the file.
        bytes: the length of the file.
        licence: the terms of use.
    """

    name: str
    filename: str
    url: str | None
    sha256: str
    bytes: int
    licence: str


NAMED_CORPORA = {
    corpus.name: corpus
    for corpus in (
        NamedCorpus(
            "comments-sample",
            "comments-sample.csv",
            None,
            "fb75a589b492e1714817281c2174810e8179d4456b54073b4d721035cc8ddf8e",
            17606,
            "Apache-2.0",
        ),
        NamedCorpus(
            "time-machine",
            "time-machine.txt",
            "http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt",
            "8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516",
            178979,
            "public domain",
        ),
        NamedCorpus(
            "tiny-shakespeare",
            "tiny-shakespeare.txt",
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            1115394,
            "public domain",
        ),
        NamedCorpus(
            "war-and-peace",
            "war-and-peace.txt",
            None,
            "dff5d95d71e419da1ce4b619c164c31b21499b82e157a7878f8c375e6b372665",
            3274217,
            "public domain",
        ),
    )
}


def read_documents(corpus: str, *, column: str = "body") -> Documents:
    """Read a corpus.

    Args:
        corpus: "python-docs", a name in ``NAMED_CORPORA``, or the path of a .txt or .csv file in
            UTF-8. A named corpus is looked for in $RNN_JAX_DATA, in ``data/`` of the working
            folder and of the package's checkout, and in the cache; then it is downloaded.
        column: the column of a CSV that contains the text.

    Returns:
        Its texts that are not blank, at least one.

    Raises:
        ValueError: the corpus is unknown, missing, empty, of another kind, not UTF-8, or not the
            file that its name stands for; it cannot be downloaded; or it has no such column.
    """
    if corpus == DEFAULT_CORPUS:
        return _read_python_docs()
    named = NAMED_CORPORA.get(corpus)
    path = _find(named) if named else Path(os.path.expanduser(corpus))
    content = _read_bytes(path, corpus)
    digest = hashlib.sha256(content).hexdigest()
    if named and digest != named.sha256:
        raise ValueError(
            f"{path} is not the corpus {named.name}: its sha256 is {digest}, not {named.sha256}; "
            "remove it, or give another file's path to --corpus"
        )
    try:
        # Not utf-8-sig, whose errors count from after the byte order mark.
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: the byte 0x{content[error.start]:02x} at offset {error.start} "
            "cannot be decoded; save the file as UTF-8"
        ) from error
    is_csv = path.suffix.lower() == ".csv"
    texts = _csv_column(text, column, path) if is_csv else [_universal_newlines(text)]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError(f"the corpus {path} is empty; give --corpus a file that contains text")
    return Documents(corpus if named else path.name, tuple(texts), digest, f"file {path}")


def _read_python_docs() -> Documents:
    # Parsing the standard library takes seconds, listing its files milliseconds.
    key = f"python-docs-{python_docs.fingerprint()[:32]}"
    cached = load_arrays(key)
    if cached is not None and "text" in cached:
        content = cached["text"].tobytes()
    else:
        joined = "\f".join(text.replace("\f", "\n") for text in python_docs.collect())
        content = joined.encode("utf-8", "surrogatepass")
        store_arrays(key, {"text": np.frombuffer(content, np.uint8)})
    texts = tuple(content.decode("utf-8", "surrogatepass").split("\f"))
    if not any(texts):
        raise ValueError(
            "this Python comes without documentation; give --corpus a .txt or .csv file"
        )
    version = sys.version.split()[0]
    origin = f"docstrings and topics of Python {version}"
    return Documents(DEFAULT_CORPUS, texts, hashlib.sha256(content).hexdigest(), origin)


def _find(named: NamedCorpus) -> Path:
    package = Path(__file__).parents[1]
    chosen = os.environ.get("RNN_JAX_DATA")
    folders = [Path(chosen)] if chosen else []
    # The last one is where an installed package keeps the sample.
    folders += [Path("data"), package.parent / "data", package / "data"]
    for folder in folders:
        if os.path.exists(folder / named.filename):
            return folder / named.filename
    if named.url is None:
        raise ValueError(
            f"the corpus {named.name} cannot be downloaded, because no address serves exactly this "
            f"file: put {named.filename} (sha256 {named.sha256}) into the folder $RNN_JAX_DATA, or "
            "give --corpus the path of your own copy"
        )
    cached = cache_folder() / named.filename
    if not _is_intact(cached, named.sha256):
        fetch(named.url, named.sha256, cached, size=named.bytes)
    return cached


def _is_intact(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def _read_bytes(path: Path, corpus: str) -> bytes:
    names = ", ".join([DEFAULT_CORPUS, *NAMED_CORPORA])
    if os.path.isdir(path):
        raise ValueError(f"--corpus {corpus} is a folder; name one .txt or .csv file in it")
    if path.suffix.lower() not in (".txt", ".csv"):
        raise ValueError(
            f"--corpus {corpus} is unknown; give one of {names}, or the path of a .txt or .csv file"
        )
    if path.exists() and not path.is_file():  # to read a pipe could wait for ever
        raise ValueError(
            f"--corpus {corpus} is a pipe or a device; save its text in a file, and give that"
        )
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(
            f"--corpus {corpus} does not exist; give an existing file, or one of {names}"
        ) from error
    except OSError as error:
        raise ValueError(
            f"--corpus {corpus} cannot be read ({reason(error)}); give a file that can be read"
        ) from error


def _universal_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


_END = "\x1e end of the file \x1e"


def _csv_column(text: str, column: str, path: Path) -> list[str]:
    # A field may be longer than the csv module's limit of 128 KiB, which is global to the process.
    before = csv.field_size_limit(2**31 - 1)
    try:
        if text.lstrip()[:1] in ("{", "["):
            raise ValueError(
                f"{path} begins as JSON does, not as a CSV: convert it, or name it .txt"
            )
        # A row that only the end of the file would show is eaten by a quote that is never closed.
        rows = csv.reader(io.StringIO(f"{text}\n{_END}", newline=""), skipinitialspace=True)
        header = [name.strip() for name in next(rows, [])]
        if header and column not in header:
            raise ValueError(
                f"{path} has no column {column!r}; it has {', '.join(header)}: choose one of them "
                "with --column"
            )
        index = header.index(column) if header else 0
        texts, begins, end = [], rows.line_num + 1, False
        for row in rows:
            end = row == [_END]
            if not end and len(row) > index:
                texts.append(_universal_newlines(row[index]))
            if any(_END in field for field in row) and not end:
                raise ValueError(
                    f"{path} has a quote that is never closed, in the row that begins on line "
                    f"{begins}: close it, or write a quote inside a field twice"
                )
            begins = rows.line_num + 1
        return texts
    except csv.Error as error:
        raise ValueError(f"{path} is not a readable CSV ({error}); correct that row") from error
    finally:
        csv.field_size_limit(before)
