"""The ids of tokens, and what happens to tokens without one."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_jax.text import UNKNOWN_TOKEN, Vocabulary, frequency_vocabulary, reference_vocabulary

COUNTS = Counter({"late": 2, "the": 9, "tie": 2, "and": 5, "rare": 1})


def test_reference_order_ties_and_unknown():
    vocabulary = reference_vocabulary(COUNTS, 4)
    assert vocabulary.tokens == ("the", "and", "late", UNKNOWN_TOKEN)
    assert vocabulary.unknown == 3
    ids = vocabulary.encode(["the", "tie", "rare", "and"])
    assert ids.dtype == np.int32 and ids.tolist() == [0, 3, 3, 1]
    assert vocabulary.decode(ids) == ["the", UNKNOWN_TOKEN, UNKNOWN_TOKEN, "and"]
    assert "tie" not in vocabulary and "and" in vocabulary and vocabulary.id("tie") == 3


def test_reference_size_defaults_and_limits():
    assert len(reference_vocabulary(COUNTS)) == 6
    assert len(reference_vocabulary(Counter(map(str, range(9000))))) == 8000
    assert reference_vocabulary(COUNTS, 6).tokens[-2:] == ("rare", UNKNOWN_TOKEN)
    for size in (-1, 0, 1, 7):
        with pytest.raises(ValueError, match=rf"--vocab-size {size} .* has 6 tokens"):
            reference_vocabulary(COUNTS, size)
    with pytest.raises(ValueError, match="needs at least one word"):
        reference_vocabulary(Counter())


def test_frequency_vocabulary():
    vocabulary = frequency_vocabulary(COUNTS, min_frequency=2, reserved=("<pad>", "and"))
    assert vocabulary.tokens == ("<unk>", "<pad>", "and", "the", "late", "tie")
    assert vocabulary.encode(["rare", "tie"]).tolist() == [0, 5]
    with pytest.raises(ValueError, match="min_frequency -1"):
        frequency_vocabulary(COUNTS, min_frequency=-1)


def test_without_unknown_and_bad_ids():
    vocabulary = Vocabulary(("a", "b"))
    with pytest.raises(ValueError, match="'c' is not in the vocabulary"):
        vocabulary.encode("abc")
    for bad in (-1, 2):
        with pytest.raises(ValueError, match=f"token id {bad} is outside"):
            vocabulary.decode([0, bad])
    with pytest.raises(ValueError, match="'a' twice"):
        Vocabulary(("a", "b", "a"))
    with pytest.raises(ValueError, match="unknown id 2"):
        Vocabulary(("a", "b"), unknown=2)


@given(st.lists(st.text(), min_size=1, unique=True))
def test_save_and_load(tmp_path_factory, tokens):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.json"
    vocabulary = Vocabulary(tuple(tokens), unknown=len(tokens) - 1)
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert [file.name for file in path.parent.iterdir()] == ["vocabulary.json"]


def test_saved_file_is_for_people_too(tmp_path):
    Vocabulary(("żurek", "☕"), unknown=1).save(tmp_path / "v.json")
    assert '\n"żurek",\n"☕"\n' in (tmp_path / "v.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"tokens": ["a"], "unknown": null}',
        *(
            json.dumps({"format": "rnn_jax vocabulary 1", **rest}).encode()
            for rest in (
                {"tokens": ["a"]} | {"unknown": "0"},
                {"tokens": ["a", 1], "unknown": 0},
                {"tokens": ["a", "a"], "unknown": 0},
                {"tokens": ["a"], "unknown": 5},
                {"tokens": "ab", "unknown": 0},
            )
        ),
    ],
)
def test_broken_files(tmp_path, content):
    path = tmp_path / "v.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"v\.json"):
        Vocabulary.load(path)


def test_unreadable_and_unwritable(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        Vocabulary.load(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        Vocabulary(("a",)).save(tmp_path / "file" / "v.json")
