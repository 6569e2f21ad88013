"""Texts cut into chunks of work, where a cut changes no token."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from rnn_jax.text.formats import Piece
from rnn_jax.text.tokenize import sure_begin

__all__ = [
    "Chunk",
    "Cut",
    "anywhere",
    "behind_spaces",
    "between_words",
    "chunks",
    "sentence_begins",
]

# Where a text may be cut: the place of a cut, 0 if there is none; what is behind it is kept.
Cut = Callable[[str], int]

_WINDOW = 1 << 13  # characters in which a place to cut is looked for; more where there is none
_BETWEEN = re.compile(r"(?<=\w)\s(?=\w)")


class Chunk(NamedTuple):
    """Pieces of texts that are tokenised together.

    first: whether nothing is before them.
    ahead: what follows the last piece, where its last tokens may depend on that.
    """

    pieces: tuple[Piece, ...]
    first: bool
    ahead: str = ""


def chunks(pieces: Iterable[Piece], cut: Cut, size: int, ahead: bool = False) -> Iterator[Chunk]:
    """Cut texts into chunks of about ``size`` characters; the cuts depend on nothing else.

    Args:
        pieces: of texts, cut anywhere.
        cut: where a text may be cut; it is shown at least ``size`` characters.
        size: characters in a chunk; there are more where a text can't be cut among so many.
        ahead: whether a chunk comes with what follows its last piece.

    Example:
        >>> texts = [Piece("one two three", True), Piece(" four", False), Piece("five", True)]
        >>> for chunk in chunks(texts, behind_spaces, 9):
        ...     print([piece.text for piece in chunk.pieces])
        ['one two ']
        ['three ']
        ['four', 'five']
    """
    ready: list[Piece] = []  # of the chunk at hand
    held: list[str] = []  # of the text at hand, behind the last cut
    length, waiting, wanted = 0, 0, size
    first, begins = True, True
    look = 2 * _WINDOW if ahead else 0
    for piece in _ended(pieces):
        if piece.begins:
            if waiting:
                ready.append(Piece("".join(held), begins))
                length += waiting
            held, waiting, wanted, begins = [], 0, size, True
            if length >= size:
                yield Chunk(tuple(ready), first)
                ready, length, first = [], 0, False
        held.append(piece.text)
        waiting += len(piece.text)
        if waiting < wanted + look:
            continue
        text, start = "".join(held), 0
        while len(text) - start >= wanted + look:
            place = cut(text[start : start + wanted])
            if not place:
                wanted *= 2
                continue
            ready.append(Piece(text[start : start + place], begins))
            start += place
            yield Chunk(tuple(ready), first, text[start : start + look])
            ready, length, first, begins, wanted = [], 0, False, False, size
        held, waiting = [text[start:]], len(text) - start
    if ready:
        yield Chunk(tuple(ready), first)


def _ended(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces, and the beginning of a text that is not there, which ends the last one."""
    yield from pieces
    yield Piece("", True)


def anywhere(text: str) -> int:
    """A cut between any two characters."""
    return len(text)


def behind_spaces(text: str) -> int:
    """A cut behind white space."""
    return max(map(text.rfind, " \n\t\u3000")) + 1


def between_words(text: str) -> int:
    """A cut before the white space between two words, where vocabularies of subwords have one."""
    for start in _starts(text):
        if places := [match.start() for match in _BETWEEN.finditer(text, start)]:
            return places[-1]
    return 0


def sentence_begins(language: str, lowered: bool) -> Cut:
    """A cut where a sentence begins, of a text that is lower-cased before it is split."""

    def cut(text: str) -> int:
        for start in _starts(text):
            window = text[start:]
            if lowered:
                low = window.lower()
                # Some letters become two, which would move the places behind them.
                window = low if len(low) == len(window) else "".join(map(_lower, window))
            if place := sure_begin(window, language=language):
                return start + place
        return 0

    return cut


def _starts(text: str) -> Iterator[int]:
    """Where ever longer last parts of a text begin, up to the whole of it."""
    size = _WINDOW
    while size < len(text):
        yield len(text) - size
        size *= 2
    yield 0


def _lower(letter: str) -> str:
    low = letter.lower()
    return low if len(low) == 1 else letter
