"""NumPy and plain Python: the whole text in memory, its numbers in one array."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["MAPPED", "feeding", "tokenising"]

MAPPED = "memmap"  # how the tokens are read: by `np.memmap`, or as a whole
_SPLITTER = "rnn_jax.text"  # of words
_VOCABULARY = 8000  # words, at every side: what `rnn-jax train` takes by itself

Functions = dict[str, Callable[..., Any]]


def tokenising(level: str, processes: int) -> Functions:
    """By this process alone; ``out`` is an array of uint16."""
    if level == "word":
        import_module(_SPLITTER)  # it is not part of the work
    numbered = {"byte": _bytes, "char": _characters, "word": _words}[level]

    def run(text: str, out: str) -> None:
        with Path(out).open("wb") as file:
            np.save(file, numbered(Path(text))[0])

    def tokens(text: str, out: str) -> list[Any]:
        run(text, out)
        ids, types = np.load(out), numbered(Path(text))[1]
        return [i if types is None else types[i] for i in ids.tolist()]

    return {"run": run, "tokens": tokens}


def _bytes(path: Path) -> tuple[np.ndarray, None]:
    return np.fromfile(path, np.uint8).astype(np.uint16), None


def _characters(path: Path) -> tuple[np.ndarray, list[str]]:
    """By a table with a number for every character that occurs."""
    codes = np.frombuffer(path.read_text("utf-8").encode("utf-32-le"), np.uint32)
    counts = np.bincount(codes)
    types = np.flatnonzero(counts)
    types = types[np.argsort(-counts[types], kind="stable")]
    numbers = np.zeros(len(counts), np.uint16)
    numbers[types] = np.arange(len(types))
    return numbers[codes], [chr(code) for code in types]


def _words(path: Path) -> tuple[np.ndarray, list[str]]:
    """Sentence by sentence, lower-cased and split by the same rules as ours."""
    text: Any = import_module(_SPLITTER)
    numbers: dict[str, int] = {}
    ids = array("I")
    for sentence in text.iter_sentences(path.read_text("utf-8").lower()):
        words = [text.SENTENCE_START, *text.tokenize_words(sentence), text.SENTENCE_END]
        ids.extend(numbers.setdefault(word, len(numbers)) for word in words)
    found = np.frombuffer(ids, np.uintc)
    frequent = np.argsort(-np.bincount(found), kind="stable")[: _VOCABULARY - 1]
    table = np.full(len(numbers), len(frequent), np.uint16)
    table[frequent] = np.arange(len(frequent))
    types = list(numbers)
    return table[found], [*(types[i] for i in frequent.tolist()), text.UNKNOWN_TOKEN]


def feeding(path: str, steps: int, batch: int, how: str) -> Functions:
    """Windows by one index of all of a batch's places in an array, or in a mapped file."""
    ids = np.memmap(path, np.uint16, "r") if how == MAPPED else np.fromfile(path, np.uint16)
    places = np.arange(steps)[:, None]

    def batches(starts: np.ndarray) -> Iterator[np.ndarray]:
        for some in starts.reshape(-1, batch):
            yield ids[some[None] + places].astype(np.int32)

    def run(starts: np.ndarray) -> None:
        for _ in batches(starts):
            pass

    return {"run": run, "windows": lambda starts: np.stack(list(batches(starts)))}
