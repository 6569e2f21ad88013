"""Chunks in numbers of their own, joined to one text in the numbers of all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_jax.text.numbering import Numbered, narrow
from rnn_jax.text.spool import Spool

__all__ = ["Joined"]


class Joined:
    """A text as it grows: its numbers on the disk, its distinct tokens and their counts in memory.

    Tokens are numbered in the order of first appearance, which the next chunk needs no other for.

    Args:
        glued: whether nothing is put between two lines of letters.
        parted: whether a space is put between two runs of letters.
        max_sentences, max_tokens: where the text ends.
        ids, sentences, documents: where the numbers go.
    """

    def __init__(
        self,
        *,
        glued: bool,
        parted: bool,
        max_sentences: int | None,
        max_tokens: int | None,
        ids: Spool,
        sentences: Spool,
        documents: Spool,
    ) -> None:
        # By what is between: nothing, characters, a line's end.
        self._between = ("", " ", "" if glued else " ") if parted else ("", "", "")
        self._most = {"sentences": max_sentences, "tokens": max_tokens}
        self._ids, self._sentences, self._documents = ids, sentences, documents
        self._numbers: dict[str, int] = {}
        self._counts = np.zeros(1 << 10, np.int64)
        self._gap, self._pending = 0, False
        self.tokens = self.sentences = 0
        self.full = False

    @property
    def types(self) -> list[str]:
        """The distinct tokens in the order of first appearance."""
        return list(self._numbers)

    def counts(self) -> Counter[str]:
        """How often each occurs, in that order."""
        return Counter(dict(zip(self._numbers, self._counts.tolist(), strict=False)))

    def add(self, chunk: Numbered) -> None:
        """Add the next chunk; nothing is added to a text that is full."""
        if not len(chunk.ids):
            self._gap = max(self._gap, chunk.tail)
            self._pending = self._pending or chunk.pending
            return
        gap = self._between[max(self._gap, chunk.lead)] if self.tokens else ""
        if gap:
            one, fixed = np.ones(1, np.int64), chunk.types is None
            ids = np.array([ord(gap) if fixed else 0], np.uint8)
            self._append(ids, None if fixed else [gap], one)
            if self.tokens == self._most["tokens"]:  # it ends in what is between the two
                self.full = True
                return
        chunk, sentences = self._cut(chunk)
        begins = chunk.begins
        if self._pending and begins[:1] != [0]:
            begins = [0, *begins]
        self._pending, self._gap = chunk.pending, chunk.tail
        if not self.sentences and sentences:
            self._sentences.add(np.zeros(1, np.uint64))
        self._documents.add(np.array(begins, np.uint64) + np.uint64(self.tokens))
        self._sentences.add(chunk.ends.astype(np.uint64) + np.uint64(self.tokens))
        self.sentences += sentences
        self._append(chunk.ids, chunk.types, chunk.counts)

    def _append(
        self, ids: NDArray[Any], types: list[str] | None, counts: NDArray[np.int64]
    ) -> None:
        self.tokens += len(ids)
        if types is None:
            self._ids.add(ids)
            return
        numbers = self._numbers
        table = np.array([numbers.setdefault(token, len(numbers)) for token in types])
        if len(numbers) > len(self._counts):
            more = max(len(numbers), 2 * len(self._counts)) - len(self._counts)
            self._counts = np.pad(self._counts, (0, more))
        self._counts[table] += counts
        self._ids.add(narrow(table, len(numbers))[ids])

    def _cut(self, chunk: Numbered) -> tuple[Numbered, int]:
        """What of a chunk belongs to the text, and how many sentences that is."""
        keep, sentences = len(chunk.ids), len(chunk.ends)
        most = self._most["sentences"]
        if most is not None and self.sentences + sentences >= most:
            sentences = most - self.sentences
            keep, self.full = int(chunk.ends[sentences - 1]), True
        most = self._most["tokens"]
        if most is not None and self.tokens + keep >= most:
            keep, self.full = most - self.tokens, True
            sentences = int(np.searchsorted(chunk.ends[:sentences], keep, side="right"))
        if keep == len(chunk.ids):
            return chunk, sentences
        ids, types = chunk.ids[:keep], chunk.types
        if types is not None:
            types = types[: int(ids.max()) + 1 if keep else 0]
        counts = np.bincount(ids, minlength=len(types)) if types is not None else chunk.counts
        begins = [begin for begin in chunk.begins if begin < keep]
        return Numbered(ids, types, counts, begins, False, chunk.ends[:sentences]), sentences
