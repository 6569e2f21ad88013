"""Cases of tokenising a text and of feeding its tokens, each implementation in its own process."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring.case import Case
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.oracle import Wrong
from benchmarks.measuring.texts import generated, temporary_folder, tokens_of
from benchmarks.measuring.worker import Worker
from benchmarks.peers import OURS
from rnn_jax import text as of_text

__all__ = ["LEVELS", "feeding", "tokenising"]

LEVELS = ("char", "word", "byte")
STEPS, BATCH = 36, 64  # of a window: inputs of 35 steps, and the targets one later
_SAMPLE = 20_000  # bytes of the text that the tokens are compared of
# The files in `benchmarks.loaders`, and how many processes tokenise, or how the tokens are read.
_TOKENISING: dict[str, tuple[str, int]] = {
    OURS: ("ours", 1),
    "rnn_jax-2-processes": ("ours", 2),
    "numpy": ("arrays", 1),
}
_FEEDING: dict[str, tuple[str, str]] = {
    OURS: ("ours", ""),
    "numpy": ("arrays", "whole"),
    "numpy-memmap": ("arrays", "memmap"),
    "torch": ("pytorch", ""),
    "torch-2-workers": ("pytorch", "workers"),
}


def tokenising(group: str, level: str, size: int) -> Case:
    """A text of ``size`` bytes, from its file to a file of numbers."""
    return Case(
        group,
        "tokenise",
        _facts(level, size),
        tuple(_TOKENISING),
        partial(_open_text, level, size),
        of="the whole text",
        rank=2,
        per_second=("MB", size / 1e6),
    )


def feeding(group: str, size: int, batches: int) -> Case:
    """Batches of windows in random order, of ``size`` tokens in a file."""
    return Case(
        group,
        "feed",
        _facts("windows", size) | {"T": STEPS - 1, "B": BATCH},
        tuple(_FEEDING),
        partial(_open_tokens, size, batches),
        of="a batch",
        rank=2,
        per_second=("tokens", (STEPS - 1) * BATCH),
    )


def _facts(kind: str, size: int) -> dict[str, Any]:
    name = f"{kind}-{size / 1e6:g}mb"
    return {"workload": name, "dtype": "uint16", "precision": "highest", "corpus_bytes": size}


def _open_text(level: str, size: int) -> Callable[[str], Prepared]:
    path = generated(size)
    with path.open("rb") as file:
        start = file.read(_SAMPLE)
    sample = Path(temporary_folder().name, "sample.txt")
    sample.write_bytes(start[: start.rfind(b"\n") + 1] or start)
    wanted = _tokens(level, sample)

    def prepare(name: str) -> Prepared:
        module, processes = _TOKENISING[name]
        worker = Worker(f"benchmarks.loaders.{module}:tokenising", level, processes)
        out = Path(tempfile.mkdtemp(dir=temporary_folder().name), "text.tokens")
        if worker.call("tokens", str(sample), str(out)) != wanted:
            raise Wrong("wrong: its tokens are not those of the text")
        weakref.finalize(worker, shutil.rmtree, out.parent)  # it is large
        return _prepared(worker, lambda: (str(path), str(out)))

    return prepare


def _tokens(level: str, path: Path) -> list[Any]:
    """The tokens of a short text, one by one."""
    if level == "byte":
        return list(path.read_bytes())
    content = path.read_text("utf-8")
    if level == "char":
        return list(content)
    # Words are lower-cased, as in the reference model.
    return [
        word
        for sentence in of_text.split_sentences(content.lower())
        for word in (
            of_text.SENTENCE_START,
            *of_text.tokenize_words(sentence),
            of_text.SENTENCE_END,
        )
    ]


def _open_tokens(size: int, batches: int) -> Callable[[str], Prepared]:
    ids = tokens_of(size)
    rng = np.random.default_rng(1)

    def starts() -> np.ndarray:
        return rng.integers(0, size - STEPS + 1, batches * BATCH)

    few = starts()[: 2 * BATCH]
    wanted = ids[few.reshape(2, 1, BATCH) + np.arange(STEPS)[None, :, None]].astype(np.int32)

    def prepare(name: str) -> Prepared:
        module, how = _FEEDING[name]
        path = str(_file(size, module == "ours"))
        worker = Worker(f"benchmarks.loaders.{module}:feeding", path, STEPS, BATCH, how)
        got = worker.call("windows", few)
        if got.dtype != wanted.dtype or not np.array_equal(got, wanted):
            raise Wrong("wrong: its windows are not those of the text")
        return _prepared(worker, lambda: (starts(),), steps=batches)

    return prepare


@cache
def _file(size: int, ours: bool) -> Path:
    """The tokens, as a token file or one number after another."""
    path = Path(temporary_folder().name, f"{size}.{'tokens' if ours else 'bin'}")
    if ours:
        vocabulary = of_text.Vocabulary(tuple(map(str, range(8000))))
        blocks = np.array_split(tokens_of(size), max(1, size >> 20))
        of_text.write_tokens(path, blocks, vocabulary)
    else:
        tokens_of(size).tofile(path)
    return path


def _prepared(
    worker: Worker, arguments: Callable[[], tuple[Any, ...]], *, steps: int = 1
) -> Prepared:
    """A call of a worker's, with the memory that it takes there."""
    return Prepared(
        lambda: worker.call("run", *arguments(), watch=True),
        dict,
        steps=steps,
        facts=lambda: {
            "resident_before_bytes": worker.before,
            "resident_bytes": worker.highest,
        },
    )
