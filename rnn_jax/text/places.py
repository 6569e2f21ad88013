"""Where documents begin in a text, looked up without having all of them in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnn_jax.text.token_file import TokenFile

__all__ = ["DocumentPlaces"]

_ALL = 1 << 20  # documents whose places are kept in memory
_EVERY = 1 << 12  # of more, one in so many is


class DocumentPlaces:
    """The places of the documents of a token file.

    Example:
        >>> from rnn_jax.text import Tokenizing, cached_tokens
        >>> tokens = cached_tokens("comments-sample", Tokenizing(level="byte"))
        >>> places = DocumentPlaces(tokens)
        >>> places.before(0), places.before(1), places.between(0, 1)
        (0, 1, array([0], dtype=uint64))
    """

    def __init__(self, tokens: TokenFile) -> None:
        self._tokens, self._count = tokens, tokens.document_count
        self._every = 1 if self._count <= _ALL else _EVERY
        if self._every == 1:
            self._some = tokens.read_documents()
        else:
            parts = (tokens.read_documents(i, i + 1) for i in range(0, self._count, self._every))
            self._some = np.concatenate([*parts])

    def before(self, place: int) -> int:
        """How many documents begin before a place."""
        number = int(np.searchsorted(self._some, np.uint64(place)))
        if self._every == 1 or not number:
            return number
        first = (number - 1) * self._every
        near = self._tokens.read_documents(first, first + self._every)
        return first + int(np.searchsorted(near, np.uint64(place)))

    def between(self, start: int, stop: int) -> NDArray[np.uint64]:
        """Where documents begin in ``start … stop-1``."""
        if self._every == 1:
            first, last = np.searchsorted(self._some, np.array([start, stop], np.uint64))
            return self._some[first:last]
        return self._tokens.read_documents(self.before(start), self.before(stop))
