"""Sentences of a token file, and the batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnn_jax import text
from rnn_jax.runs.remembered import remembered
from rnn_jax.runs.streams import PIECE, WHOLE
from rnn_jax.text.batches import counted_bucket_lengths
from rnn_jax.text.token_file import TokenFile
from rnn_jax.training import Fed, SentenceStream, sentence_stream

__all__ = ["SentenceRange", "fed_sentences"]

_BLOCK = 1 << 16  # sentences that are looked at together


class _Sizes(NamedTuple):
    """values, counts: the distinct lengths in pairs, increasing, and how often each occurs.

    largest: tokens of the longest two runs, one after the other, of so many sentences.
    """

    values: NDArray[np.int64]
    counts: NDArray[np.int64]
    largest: int


@dataclass(frozen=True, eq=False)
class SentenceRange:
    """Sentences ``start … stop-1`` of a token file, which are read when they are asked for."""

    tokens: TokenFile
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> SentenceRange:
        """Sentences ``start … stop-1`` of these."""
        return SentenceRange(self.tokens, self.start + start, self.start + stop)

    def read(self, start: int = 0, stop: int | None = None) -> text.Sentences:
        """Some of them, in memory."""
        start, stop, _ = slice(start, stop).indices(len(self))
        places = self.places(start, stop)
        ids = self.tokens.read(int(places[0]), int(places[-1])).astype(np.int32)
        return text.Sentences(ids, places - places[0])

    def places(self, start: int, stop: int) -> NDArray[np.int64]:
        """int64[stop - start + 1]: where in the file some of them begin, and the last one ends."""
        first = self.start + start
        return self.tokens.read_sentences(first, first + stop - start + 1).astype(np.int64)

    def blocks(self) -> Iterator[NDArray[np.integer[Any]]]:
        """The ids of all of them, one piece after the other."""
        for start in range(0, len(self), _BLOCK):
            ends = self.places(start, min(start + _BLOCK, len(self)))[[0, -1]].tolist()
            yield self.tokens.read(*ends)

    @cached_property
    def token_count(self) -> int:
        """The tokens of all of them, markers included."""
        first, last = self.places(0, 0), self.places(len(self), len(self))
        return int(last[0] - first[0])

    @property
    def word_count(self) -> int:
        """The number of targets, by which a summed loss is divided."""
        return self.token_count - len(self)

    @cached_property
    def buckets(self) -> tuple[int, ...]:
        """The lengths that they are padded to."""
        sizes = self.sizes(len(self))
        return counted_bucket_lengths(sizes.values, sizes.counts)

    def sizes(self, run: int) -> _Sizes:
        """What their lengths are like; ``run`` sentences are read together."""
        name = ["sentence sizes", self.tokens.description["sums"], self.start, self.stop, run]
        found = remembered(name, len(self), lambda: self._sizes(run))
        return _Sizes(found["values"], found["counts"], int(found["largest"][0]))

    def _sizes(self, run: int) -> dict[str, NDArray[np.int64]]:
        counts: dict[int, int] = {}
        totals = np.zeros(-(-len(self) // run) + 1, np.int64)
        for start in range(0, len(self), _BLOCK):
            sizes = np.diff(self.places(start, min(start + _BLOCK, len(self))))
            values, numbers = np.unique(sizes - 1, return_counts=True)
            for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
                counts[value] = counts.get(value, 0) + number
            runs = np.arange(start, start + len(sizes)) // run
            first = int(runs[0])
            sums = np.add.reduceat(sizes, np.flatnonzero(np.diff(runs, prepend=-1)))
            totals[first : first + len(sums)] += sums
        values = np.array(sorted(counts), np.int64)
        numbers = np.array([counts[value] for value in values.tolist()], np.int64)
        largest = np.array([(totals[:-1] + totals[1:]).max()])
        return {"values": values, "counts": numbers, "largest": largest}


def fed_sentences(
    sentences: SentenceRange, batch_size: int, *, by_length: bool = False
) -> SentenceStream | Fed:
    """Batches of sentences on the device if they are few, else read piece by piece.

    Args:
        sentences: at least one.
        batch_size: sentences in a batch.
        by_length: the shortest first, so that batches need little padding; of many, among those
            that are read together.
    """
    if 4 * sentences.token_count + 8 * len(sentences) <= WHOLE:
        read = sentences.read()
        read = read.by_length() if by_length else read
        return sentence_stream(
            read.stream, read.offsets, buckets=sentences.buckets, batch_size=batch_size
        )
    # A piece has room for any two runs of sentences, wherever it begins.
    mean = sentences.token_count / len(sentences)
    piece = max(1, int(PIECE // (8 * (mean + 1) * batch_size)))
    run = piece * batch_size
    room = sentences.sizes(run).largest + sentences.buckets[-1] + 1

    def pieces(begin: int, end: int, rows: slice) -> SentenceStream:
        first, last = begin * batch_size, min(end * batch_size, len(sentences))
        if by_length:
            some = _sorted_part(sentences, first, last, run)
        else:
            some = sentences.read(first, last)
        stream = np.zeros(room, np.int32)
        stream[: len(some.stream)] = some.stream
        starts, lengths = np.zeros((2, run), np.int32)
        starts[: len(some)], lengths[: len(some)] = some.offsets[:-1], some.lengths
        sides: tuple[Any, Any, Any] = (stream, starts, lengths)
        return SentenceStream(*sides, sentences.buckets, batch_size)

    return Fed(pieces, -(-len(sentences) // batch_size), batch_size, piece)


def _sorted_part(sentences: SentenceRange, first: int, last: int, run: int) -> text.Sentences:
    """Sentences ``first … last-1`` where each run of so many is sorted by length."""
    parts = []
    for begin in range(first - first % run, last, run):
        whole = sentences.read(begin, min(begin + run, len(sentences))).by_length()
        parts.append(whole.subset(max(first - begin, 0), last - begin))
    stream = np.concatenate([part.stream for part in parts])
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    return text.Sentences(stream, np.concatenate([[0], np.cumsum(sizes)]))
