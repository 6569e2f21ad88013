"""Texts as streams of characters, held to the plain definition."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from rnn_jax.text import (
    character_corpus,
    document_begins,
    frequency_vocabulary,
    normalize_letters,
    renumbered,
)
from rnn_jax.text import characters as module

POEM = "Roses are red,\nviolets are blue,\n\nsugar is sweet\n"


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
@pytest.mark.parametrize("level", ["char", "word"])
def test_streams_are_those_of_a_list_of_tokens(
    level: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = random.Random(1)
    texts = ["".join(rng.choice("abc é😀\n \u2028Z,") for _ in range(n)) for n in (0, 1, 50, 7)]
    tokens = [t for text in texts for t in (text if level == "char" else text.split())]
    vocabulary = frequency_vocabulary(Counter(tokens), min_frequency=2)
    ids, found = character_corpus(texts, level, letters_only=False, min_frequency=2)  # type: ignore[arg-type]
    assert found == vocabulary
    np.testing.assert_array_equal(ids, vocabulary.encode(tokens))
    assert ids.dtype == np.int32


def test_a_lines_end_is_a_space_or_nothing() -> None:
    ids, vocabulary = character_corpus([POEM, "", "And you"], lines="spaced")
    assert "".join(vocabulary.decode(ids)) == (
        "roses are red violets are blue sugar is sweet and you"
    )
    ids, vocabulary = character_corpus([POEM, "", "And you"])
    assert "".join(vocabulary.decode(ids)) == "".join(
        normalize_letters(line) for line in [*POEM.split("\n"), "And you"]
    )
    with pytest.raises(ValueError, match="lines must be 'glued' or 'spaced', not 'both'"):
        character_corpus([POEM], lines="both")  # type: ignore[arg-type]


def test_words_are_the_same_however_lines_are_joined() -> None:
    for lines in ("glued", "spaced"):
        ids, vocabulary = character_corpus([POEM], "word", lines=lines)
        assert vocabulary.decode(ids) == normalize_letters(POEM).split()


def test_renumbered_works_in_place() -> None:
    ids = np.array([0, 2, 1, 0], np.int32)
    assert renumbered(ids, np.array([5, 6, 7], np.int32)) is ids
    assert ids.tolist() == [5, 7, 6, 5]


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("letters_only", [True, False])
@pytest.mark.parametrize("lines", ["glued", "spaced"])
def test_documents_begin_where_their_tokens_do(level: Any, letters_only: bool, lines: Any) -> None:
    texts = ("Ab cd!\n", "...", "", "\nThe end.\n\nNo, not yet.", "b", "c")
    reading: Any = {"level": level, "letters_only": letters_only, "lines": lines}
    ids, vocabulary = character_corpus(texts, **reading)
    begins = document_begins(texts, **reading)
    parts = [vocabulary.decode(part) for part in np.split(ids, begins[1:])]
    expected = []
    for text in texts:
        if letters_only:  # by itself, a text is what it is among others
            try:
                alone, own = character_corpus([text], **reading)
                expected.append(own.decode(alone))
            except ValueError:
                continue
        elif text:
            expected.append(list(text) if level == "char" else text.split())
    if letters_only and level == "char" and lines == "spaced":
        expected = [[*part, " "] for part in expected[:-1]] + expected[-1:]
    assert begins[0] == 0 and parts == expected
