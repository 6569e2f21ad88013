"""Generated texts of any size, with the statistics that a tokeniser notices."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

__all__ = ["generated", "temporary_folder", "tokens_of"]

_WORDS = 50_000  # distinct ones, by Zipf's law
_BLOCK = 200_000  # words written together
_LETTERS = "etaoinshrdlcumwfgypbvkéü"


@cache
def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for the files of this process, which go with it."""
    return tempfile.TemporaryDirectory(prefix="benchmarks-")


@cache
def generated(size: int) -> Path:
    """A file of about ``size`` bytes: sentences of 4 to 30 words, some of them quoted, in lines.

    The same text for the same size, in any process.
    """
    rng = np.random.default_rng(0)
    words = _words(rng)
    weights = 1 / np.arange(1, _WORDS + 1)
    order = np.cumsum(weights / weights.sum())
    path = Path(temporary_folder().name, f"{size}.txt")
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            count = min(_BLOCK, max(30, (size - written) // 8))
            chosen = np.searchsorted(order, rng.random(count)).clip(max=_WORDS - 1)
            text = _sentences([words[i] for i in chosen.tolist()], rng)
            written += len(text.encode())
            file.write(text)
    return path


@cache
def tokens_of(size: int) -> np.ndarray:
    """``uint16[size]``, below 8,000: the tokens of a corpus that nobody had to tokenise."""
    return np.random.default_rng(0).integers(0, 8000, size, np.uint16)


def _words(rng: np.random.Generator) -> list[str]:
    """Distinct words, the frequent ones shorter."""
    weights = 1 / np.arange(1, len(_LETTERS) + 1)
    weights /= weights.sum()
    words: dict[str, None] = {}
    while len(words) < _WORDS:
        size = 1 + int(rng.poisson(2 + len(words) ** 0.15))
        words["".join(rng.choice(list(_LETTERS), size, p=weights))] = None
    return list(words)


def _sentences(words: list[str], rng: np.random.Generator) -> str:
    parts, begin = [], 0
    for length in rng.integers(4, 31, len(words) // 4 + 1).tolist():
        some = words[begin : begin + length]
        if not some:
            break
        begin += length
        sentence = " ".join(some)
        comma = " ".join((some[0] + ",", *some[1:])) if length % 3 == 0 else sentence
        sentence = comma[0].upper() + comma[1:] + (".", ".", "?", "!")[length % 4]
        parts.append(f"“{sentence}”" if length % 7 == 0 else sentence)
    lines = [" ".join(parts[i : i + 5]) for i in range(0, len(parts), 5)]
    return "\n".join(lines) + "\n"
