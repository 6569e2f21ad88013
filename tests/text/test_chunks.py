"""Chunks of texts: where they are cut."""

from __future__ import annotations

import pytest

from rnn_jax.text import chunks as module
from rnn_jax.text.chunks import between_words, chunks, sentence_begins
from rnn_jax.text.formats import Piece


@pytest.mark.parametrize("reads", [1, 7, 1 << 20])
def test_a_chunk_ends_at_the_last_place_however_far_back(
    reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WINDOW", 100)
    sentences = "".join(f"This is sentence {word}. " for word in ("one", "two", "three") * 20)
    text = (sentences + "word and word; " * 60) * 4
    spaceless = ("some words " * 40 + "…" * 900) * 4
    cuts = ((text, sentence_begins("english", True)), (spaceless, between_words))
    for whole, cut in cuts:
        pieces = [Piece(whole[at : at + reads], at == 0) for at in range(0, len(whole), reads)]
        ahead = cut is not between_words
        found = [chunk.pieces for chunk in chunks(pieces, cut, 2000, ahead=ahead)]
        assert "".join(piece.text for parts in found for piece in parts) == whole
        sizes = [sum(len(piece.text) for piece in parts) for parts in found]
        assert len(sizes) > 2 and max(sizes[:-1]) <= 2000, sizes
        once = [chunk.pieces for chunk in chunks([Piece(whole, True)], cut, 2000, ahead=ahead)]
        assert found == once
