"""A token file without the sentences that are too long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_jax.host.checksums import checksum_of_json
from rnn_jax.text.cache import cache_folder
from rnn_jax.text.places import DocumentPlaces
from rnn_jax.text.spool import Spool
from rnn_jax.text.token_cache import cached_file
from rnn_jax.text.token_file import SUFFIX, TokenFile
from rnn_jax.text.token_writer import write_tokens

__all__ = ["sifted"]

_SENTENCES = 1 << 16  # that are looked at together


def sifted(tokens: TokenFile, longest: int, *, sentences: int | None = None) -> TokenFile:
    """The sentences of at most ``longest`` tokens, markers counted, as a file in the cache.

    Args:
        tokens: in sentences.
        longest: the tokens that a sentence may have.
        sentences: look only at the first so many.

    Returns:
        The file itself where none is left out. Else one whose ``description["source"]["left_out"]``
        says how many are; it may hold no sentence at all.
    """
    total = tokens.sentence_count if sentences is None else min(sentences, tokens.sentence_count)
    left_out = 0
    for places in _blocks(tokens, total):
        left_out += int((np.diff(places) > longest).sum())
    if not left_out:
        return tokens
    key = checksum_of_json([tokens.description["sums"], tokens.settings, longest, total])

    def write(out: Path) -> None:
        with Spool(out.parent) as ends, Spool(out.parent) as documents:
            write_tokens(
                out,
                _kept(tokens, longest, total, ends, documents),
                tokens.vocabulary,
                sentences=ends,
                documents=documents,
                settings={**tokens.settings, "longest": longest},
                source={**tokens.description["source"], "left_out": left_out},
            )

    return cached_file(cache_folder() / f"tokens-{key}{SUFFIX}", write)


def _blocks(tokens: TokenFile, total: int) -> Iterator[NDArray[np.int64]]:
    """Where sentences begin, and where the last one ends, block by block."""
    for first in range(0, total, _SENTENCES):
        last = min(first + _SENTENCES, total)
        yield tokens.read_sentences(first, last + 1).astype(np.int64)


def _kept(
    tokens: TokenFile, longest: int, total: int, ends: Spool, documents: Spool
) -> Iterator[NDArray[Any]]:
    """The ids of the sentences that stay; their places go to the spools on the way."""
    begins = DocumentPlaces(tokens)
    done, document = 0, -1
    ends.add(np.zeros(1, np.uint64))
    for places in _blocks(tokens, total):
        sizes = np.diff(places)
        kept = sizes <= longest
        ids = tokens.read(int(places[0]), int(places[-1]))[np.repeat(kept, sizes)]
        first = begins.before(int(places[0]))
        within = begins.between(int(places[0]), int(places[-1])).astype(np.int64)
        of = (first + np.searchsorted(within, places[:-1], side="right"))[kept]
        after = done + np.cumsum(sizes[kept])
        new = np.diff(of, prepend=document) != 0
        ends.add(after.astype(np.uint64))
        documents.add((after - sizes[kept])[new].astype(np.uint64))
        if len(of):
            done, document = int(after[-1]), int(of[-1])
        yield ids
