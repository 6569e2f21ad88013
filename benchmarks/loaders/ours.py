"""rnn_jax: token files, written by `tokenize_source` and read by `TokenFile`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rnn_jax.text import TokenFile, Tokenizing, find_source, tokenize_source

__all__ = ["feeding", "tokenising"]

Functions = dict[str, Callable[..., Any]]


def tokenising(level: str, processes: int) -> Functions:
    """By ``processes``; words are split into sentences, as `rnn-jax train` has it."""
    settings = Tokenizing(level=level)

    def run(text: str, out: str) -> None:
        tokenize_source(find_source(text), out, settings, processes=processes)

    def tokens(text: str, out: str) -> list[Any]:
        run(text, out)
        with TokenFile.open(out) as file:
            ids = file.read()
            return ids.tolist() if level == "byte" else file.vocabulary.decode(ids)

    return {"run": run, "tokens": tokens}


def feeding(path: str, steps: int, batch: int, how: str) -> Functions:
    """Windows by `TokenFile.gather`; another reader of token files is one more iterator here."""
    file = TokenFile.open(path)

    def batches(starts: np.ndarray) -> Iterator[np.ndarray]:
        for some in starts.reshape(-1, batch):
            yield np.ascontiguousarray(file.gather(some, steps).T, np.int32)

    def run(starts: np.ndarray) -> None:
        for _ in batches(starts):
            pass

    return {"run": run, "windows": lambda starts: np.stack(list(batches(starts)))}
