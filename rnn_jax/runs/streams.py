"""A part of a token file as one stream, and how the batches of an epoch are cut from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from rnn_jax.text.batches import drawn_offset, shuffled
from rnn_jax.text.places import DocumentPlaces
from rnn_jax.text.token_file import TokenFile
from rnn_jax.training import Fed, Windows

__all__ = ["Covering", "Cut", "RandomCut", "SequentialCut", "Stream", "fed_windows"]

Ids = NDArray[np.integer[Any]]

_IN_MEMORY = 1 << 23  # tokens of a stream that are read once and kept
_BLOCK = 1 << 20  # tokens that are looked at together
WHOLE = 1 << 26  # bytes of batches that go to the device all at once
PIECE = 1 << 23  # bytes of the pieces in which more go there


@dataclass(frozen=True, eq=False)
class Stream:
    """Tokens ``start … stop-1`` of a file, which are read when they are asked for.

    places: where documents begin, if the state starts anew there.
    """

    tokens: TokenFile
    start: int
    stop: int
    places: DocumentPlaces | None = None

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> Stream:
        """Tokens ``start … stop-1`` of these."""
        return Stream(self.tokens, self.start + start, self.start + stop, self.places)

    def read(self) -> Ids:
        """All of them."""
        return self.tokens.read(self.start, self.stop)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them, where an array is wanted."""
        return self.read().astype(dtype or np.int32)

    def blocks(self) -> Iterator[Ids]:
        """All of them, one piece after the other."""
        for start in range(self.start, self.stop, _BLOCK):
            yield self.tokens.read(start, min(start + _BLOCK, self.stop))

    def gather(self, starts: NDArray[np.int64], length: int) -> Ids:
        """Windows of the stream, ``[len(starts), length]``."""
        if self._all is not None:
            return np.asarray(self._all[starts[:, None] + np.arange(length)])
        return self.tokens.gather(self.start + starts, length)

    def begins(self) -> NDArray[np.bool_]:
        """Where in it documents begin, one flag a token."""
        return self._flags(np.zeros(1, np.int64), len(self))[0]

    def gather_begins(self, starts: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
        """The flags of windows."""
        if self._all_begins is not None:
            return np.asarray(self._all_begins[starts[:, None] + np.arange(length)])
        return self._flags(starts, length)

    @property
    def documents(self) -> int:
        """How many documents begin in it."""
        assert self.places is not None
        return self.places.before(self.stop) - self.places.before(self.start)

    def _flags(self, starts: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
        flags = np.zeros((len(starts), length), bool)
        assert self.places is not None
        for row, start in zip(flags, (self.start + starts).tolist(), strict=True):
            row[self.places.between(start, start + length).astype(np.int64) - start] = True
        return flags

    @cached_property
    def _all(self) -> Ids | None:
        return self.read() if len(self) <= _IN_MEMORY else None

    @cached_property
    def _all_begins(self) -> NDArray[np.bool_] | None:
        return self.begins() if len(self) <= _IN_MEMORY else None


class Cut(Protocol):
    """How a stream is cut into batches: any of them can be read on its own.

    count: the number of batches.
    batch_size: rows of a batch.
    """

    count: int
    batch_size: int

    @property
    def window_bytes(self) -> int:
        """Bytes of one batch on the device."""
        ...

    def windows(self, begin: int, end: int, rows: slice, size: int) -> Windows:
        """Rows of batches ``begin … end-1``, filled up with zeros to ``size`` batches."""
        ...


class _Cut(ABC):
    """Windows of one length, each at a place of its own."""

    count: int

    def __init__(self, stream: Stream, batch_size: int, seq_length: int) -> None:
        self.stream, self.batch_size, self.seq_length = stream, batch_size, seq_length

    @property
    def window_bytes(self) -> int:
        """Bytes of one batch on the device."""
        flags = self.stream.places is not None
        return self.batch_size * self.seq_length * (8 + flags)

    @abstractmethod
    def stretches(self, begin: int, end: int, rows: slice) -> tuple[NDArray[np.int64], int]:
        """int64[stretches, rows]: where stretches of the stream begin, of so many windows each."""

    def windows(self, begin: int, end: int, rows: slice, size: int) -> Windows:
        """As `Cut` says."""
        count, length = max(0, min(end, self.count) - begin), self.seq_length
        starts, each = self.stretches(begin, begin + count, rows)
        width = starts.shape[1]

        def laid_out(cut: NDArray[Any], dtype: Any) -> Any:
            out = np.zeros((size, length, width), dtype)
            found = cut.reshape(len(starts), width, each, length).transpose(0, 2, 3, 1)
            out[:count] = found.reshape(count, length, width)
            return out

        tokens = self.stream.gather(starts.reshape(-1), each * length + 1)
        resets = None
        if self.stream.places is not None:
            flags = self.stream.gather_begins(starts.reshape(-1), each * length)
            resets = laid_out(flags, bool)
        inputs, targets = (laid_out(side, np.int32) for side in (tokens[:, :-1], tokens[:, 1:]))
        return Windows(inputs, targets, None, resets)


class RandomCut(_Cut):
    """The batches of `rnn_jax.text.random_batches`."""

    def __init__(
        self, stream: Stream, batch_size: int, seq_length: int, rng: np.random.Generator
    ) -> None:
        super().__init__(stream, batch_size, seq_length)
        self._offset = drawn_offset(len(stream), batch_size, seq_length, seq_length - 1, rng)
        self._number = (len(stream) - self._offset - 1) // seq_length
        self.count, self._rng = self._number // batch_size, rng

    @cached_property
    def _order(self) -> NDArray[np.integer[Any]]:
        # When the first batch is read: the order of the epoch before has been given up by then.
        return shuffled(self._number, self._rng)

    def stretches(self, begin: int, end: int, rows: slice) -> tuple[NDArray[np.int64], int]:
        """A window each."""
        size = self.batch_size
        numbers = self._order[begin * size : end * size].reshape(-1, size)[:, rows]
        return self._offset + self.seq_length * numbers.astype(np.int64), 1


class SequentialCut(_Cut):
    """The batches of `rnn_jax.text.sequential_batches`."""

    def __init__(
        self, stream: Stream, batch_size: int, seq_length: int, rng: np.random.Generator
    ) -> None:
        super().__init__(stream, batch_size, seq_length)
        self._offset = drawn_offset(len(stream), batch_size, seq_length, seq_length, rng)
        self._row = (len(stream) - self._offset - 1) // batch_size
        self.count = self._row // seq_length

    def stretches(self, begin: int, end: int, rows: slice) -> tuple[NDArray[np.int64], int]:
        """All windows of a row, which follow each other."""
        first = self._offset + self._row * np.arange(self.batch_size, dtype=np.int64)[rows]
        return first[None] + self.seq_length * begin, end - begin


class Covering:
    """The batches of `rnn_jax.training.covering`: every target once."""

    def __init__(self, stream: Stream, batch_size: int, seq_length: int) -> None:
        targets = len(stream) - 1
        if targets < 1:
            raise ValueError(f"{len(stream)} tokens hold no target: use a longer text")
        self.stream = stream
        self.batch_size = max(1, min(batch_size, targets // seq_length))
        numbers = np.arange(self.batch_size + 1, dtype=np.int64)
        # Without a product that 64 bits could not hold.
        whole, rest = divmod(targets, self.batch_size)
        begins = whole * numbers + rest * numbers // self.batch_size
        self._begins, self._lengths = begins[:-1], np.diff(begins)
        longest = int(self._lengths.max())
        self.seq_length = min(seq_length, longest)
        self.count = -(-longest // self.seq_length)
        self._padded = bool((self._lengths < self.count * self.seq_length).any())

    @property
    def window_bytes(self) -> int:
        """Bytes of one batch on the device."""
        resets = self.stream.places is not None
        return self.batch_size * self.seq_length * (8 + self._padded + resets)

    def windows(self, begin: int, end: int, rows: slice, size: int) -> Windows:
        """As `Cut` says."""
        length = self.seq_length
        first = begin * length
        begins = self._begins[rows] + first
        # What of each row is left, and wanted.
        counts = np.clip(self._lengths[rows] - first, 0, (min(end, self.count) - begin) * length)
        inputs, targets = (np.zeros((len(begins), size * length), np.int32) for _ in range(2))
        resets = np.zeros((len(begins), size * length), bool)
        for row, (start, count) in enumerate(zip(begins, counts, strict=True)):
            if count:
                one = np.array([start])
                ids = self.stream.gather(one, count + 1)[0]
                inputs[row, :count], targets[row, :count] = ids[:-1], ids[1:]
                if self.stream.places is not None:
                    resets[row, :count] = self.stream.gather_begins(one, count)[0]

        def laid_out(side: NDArray[Any]) -> Any:
            cut = side.reshape(-1, size, length).transpose(1, 2, 0)
            return np.ascontiguousarray(cut)

        mask = laid_out(np.arange(size * length) < counts[:, None]) if self._padded else None
        there = None if self.stream.places is None else laid_out(resets)
        return Windows(laid_out(inputs), laid_out(targets), mask, there)


def fed_windows(cut: Cut, count: int) -> Windows | Fed:
    """Batches of a cut on the device if they are few, else read from it piece by piece.

    Args:
        cut: of a stream.
        count: how many batches there are to be, perhaps more than the cut has.
    """
    piece = max(1, PIECE // cut.window_bytes)

    def read(begin: int, end: int, rows: slice) -> Windows:
        return cut.windows(begin, end, rows, piece)

    if count * cut.window_bytes > WHOLE:
        return Fed(read, count, cut.batch_size, piece)
    every = slice(None)
    parts = [
        cut.windows(begin, end, every, end - begin)
        for begin, end in ((i, min(i + piece, count)) for i in range(0, count, piece))
    ]
    whole: Windows = jax.tree.map(lambda *sides: jnp.asarray(np.concatenate(sides)), *parts)
    return whole
