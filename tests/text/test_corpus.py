"""From documents to the pairs and streams that models are trained on."""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_jax.text import (
    SENTENCE_END,
    SENTENCE_START,
    UNKNOWN_TOKEN,
    Documents,
    Vocabulary,
    character_corpus,
    corpus,
    encode_sentences,
    read_documents,
    reference_vocabulary,
    split_sentences,
    tokenize_corpus,
    tokenize_words,
)

COMMENTS = ("The cat sat. The CAT slept!", "Don't wake the cat.", "No.")


def documents(*texts):
    return Documents("test", texts, "hash", "here")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RNN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sentences_of(tokenized):
    words = [tokenized.types[i] for i in tokenized.ids]
    offsets = tokenized.sentence_offsets
    return [words[a:b] for a, b in pairwise(offsets)]


def test_reference_pipeline_end_to_end():
    tokenized = tokenize_corpus(documents(*COMMENTS))
    assert sentences_of(tokenized) == [
        ["the", "cat", "sat", "."],
        ["the", "cat", "slept", "!"],
        ["do", "n't", "wake", "the", "cat", "."],
        ["no", "."],
    ]
    assert tokenized.ids.dtype == np.int32 and tokenized.sentence_offsets.dtype == np.int64
    counts = tokenized.counts()
    assert counts[SENTENCE_START] == counts[SENTENCE_END] == 4
    assert (counts["the"], counts["."], counts["no"]) == (3, 3, 1)
    vocabulary = reference_vocabulary(counts, 7)
    expected = (SENTENCE_START, SENTENCE_END, "the", "cat", ".", "sat", UNKNOWN_TOKEN)
    assert vocabulary.tokens == expected
    sentences = encode_sentences(tokenized, vocabulary)
    assert len(sentences) == 4 and sentences.stream.dtype == np.int32
    assert [(x.tolist(), y.tolist()) for x, y in sentences.pairs()] == [
        ([0, 2, 3, 5, 4], [2, 3, 5, 4, 1]),
        ([0, 2, 3, 6, 6], [2, 3, 6, 6, 1]),
        ([0, 6, 6, 6, 2, 3, 4], [6, 6, 6, 2, 3, 4, 1]),
        ([0, 6, 4], [6, 4, 1]),
    ]
    assert sentences.lengths.tolist() == [5, 5, 7, 3] and sentences.word_count == 20


def test_counts_are_those_of_the_marked_sentences_in_order():
    texts = read_documents("comments-sample").texts
    plain: Counter[str] = Counter()
    for text in texts:
        for sentence in split_sentences(text.lower()):
            plain.update([SENTENCE_START, *tokenize_words(sentence), SENTENCE_END])
    counts = tokenize_corpus(documents(*texts)).counts()
    # The order, too: it decides between words of equal frequency.
    assert list(counts.items()) == list(plain.items())
    assert counts.most_common(300) == plain.most_common(300)


@given(st.integers(-6, 6), st.one_of(st.none(), st.integers(-6, 6)))
def test_subset_is_a_slice(start, stop):
    words = Vocabulary((SENTENCE_START, SENTENCE_END, "?"), unknown=2)
    ids = np.zeros(7, np.int32)
    offsets = np.array([0, 1, 3, 4, 7])
    whole = encode_sentences(
        corpus.TokenizedCorpus("test", "", "word", offsets, ids, ("w",)), words
    )
    part = whole.subset(start, stop)
    expected = [x.tolist() for x, _ in whole.pairs()][start:stop]
    assert [x.tolist() for x, _ in part.pairs()] == expected
    assert len(part) == len(expected) and part.word_count == sum(map(len, expected))


def test_markers_must_be_in_the_vocabulary():
    tokenized = tokenize_corpus(documents(*COMMENTS))
    with pytest.raises(ValueError, match=r"lacks SENTENCE_END; choose a larger --vocab-size"):
        encode_sentences(tokenized, reference_vocabulary(tokenized.counts(), 2))
    with pytest.raises(ValueError, match="'the' is not in the vocabulary"):
        encode_sentences(tokenized, Vocabulary((SENTENCE_START, SENTENCE_END)))


def test_characters_and_letters_only():
    text = "Yes: 2 cats. 3. Über!"
    chars = tokenize_corpus(documents(text), level="char")
    assert ["".join(s) for s in sentences_of(chars)] == split_sentences(text)
    letters = tokenize_corpus(documents(text), level="char", letters_only=True)
    assert ["".join(s) for s in sentences_of(letters)] == ["yes cats", "ber"]
    words = tokenize_corpus(documents(text), letters_only=True)
    assert sentences_of(words) == [["yes", "cats"], ["ber"]]


def test_limit_and_progress():
    reports = []
    tokenized = tokenize_corpus(
        documents("One. Two. " * 600, "Three."), progress=lambda *args: reports.append(args)
    )
    assert len(tokenized) == 1201
    done, totals = zip(*reports, strict=True)
    assert set(totals) == {6006} and list(done) == sorted(done) and done[-1] == 6006
    assert len(reports) == 3
    assert sentences_of(tokenize_corpus(documents("One. Two. Three.", "Four."), limit=2)) == [
        ["one", "."],
        ["two", "."],
    ]


@pytest.mark.parametrize(
    "texts, settings, message",
    [
        (COMMENTS, {"level": "byte"}, "--level byte"),
        (COMMENTS, {"limit": 0}, "limit of 0"),
        (("12. 34!",), {"letters_only": True}, "has no sentence"),
        ((), {}, "has no sentence"),
    ],
)
def test_bad_settings(texts, settings, message):
    with pytest.raises(ValueError, match=message):
        tokenize_corpus(documents(*texts), **settings)


def test_second_call_reads_the_cache(monkeypatch, cache):
    first = tokenize_corpus(documents(*COMMENTS))
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(corpus, "iter_sentences", None)
    second = tokenize_corpus(documents(*COMMENTS))
    assert sentences_of(second) == sentences_of(first) and second.types == first.types
    assert second.documents.tolist() == first.documents.tolist() == [0, 2, 3]
    # Other settings and other texts get their own entries.
    for call in (
        lambda: tokenize_corpus(documents(*COMMENTS), limit=2),
        lambda: tokenize_corpus(documents("".join(COMMENTS))),
        lambda: tokenize_corpus(documents(*COMMENTS), language="german"),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign"])
def test_damaged_cache_is_rebuilt(cache, damage):
    first = tokenize_corpus(documents(*COMMENTS))
    [file] = cache.iterdir()
    content = bytearray(file.read_bytes())
    whole = bytes(content)
    content[whole.index(first.ids.tobytes())] ^= 1
    changed = {"empty": b"", "cut": whole[:-50], "flipped": bytes(content), "foreign": b"hello"}
    file.write_bytes(changed[damage])
    again = tokenize_corpus(documents(*COMMENTS))
    assert sentences_of(again) == sentences_of(first)
    assert file.read_bytes()[:2] == b"PK" and len(file.read_bytes()) == len(whole)


def test_unwritable_cache_is_a_warning(cache, monkeypatch):
    cache.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="RNN_JAX_CACHE"):
        tokenized = tokenize_corpus(documents(*COMMENTS))
    assert len(tokenized) == 4 and os.listdir(cache.parent) == ["cache"]


def test_character_corpus():
    lines = ["The Time-Machine,\n", "\n", "  by H. G. Wells"]
    ids, vocabulary = character_corpus(lines)
    assert "".join(vocabulary.decode(ids)) == "the time machineby h g wells"
    assert vocabulary.tokens[:4] == ("<unk>", " ", "e", "h") and vocabulary.unknown == 0
    assert ids.dtype == np.int32
    whole, same = character_corpus(["".join(lines)])
    assert same == vocabulary and whole.tolist() == ids.tolist()
    short, same = character_corpus(lines, max_tokens=5)
    assert same == vocabulary and short.tolist() == ids[:5].tolist()
    ids, vocabulary = character_corpus(lines, "word", min_frequency=2, reserved=["<pad>"])
    assert vocabulary.tokens == ("<unk>", "<pad>") and ids.tolist() == [0] * 7
    ids, vocabulary = character_corpus(["Ab\n", "b"], letters_only=False)
    assert vocabulary.decode(ids) == ["A", "b", "\n", "b"]


def test_character_corpus_of_bad_input():
    with pytest.raises(ValueError, match="no letters"):
        character_corpus(["123", ""])
    with pytest.raises(ValueError, match="max_tokens 0"):
        character_corpus(["abc"], max_tokens=0)
    with pytest.raises(ValueError, match="--level words"):
        character_corpus(["abc"], "words")  # type: ignore[arg-type]


@pytest.mark.skipif("RNN_JAX_DATA" not in os.environ, reason="needs The Time Machine")
def test_time_machine_is_as_d2l_prints_it():
    ids, vocabulary = character_corpus(read_documents("time-machine").texts)
    assert (len(ids), len(vocabulary)) == (170580, 28)
    assert vocabulary.tokens[:5] == ("<unk>", " ", "e", "t", "a")
    assert "".join(vocabulary.decode(ids[:29])) == "the time machine by h g wells"


def test_sentences_know_the_documents_they_are_from():
    texts = ("One two. Three. Four.", "...", "Five. Six.", "Seven.")
    tokenized = tokenize_corpus(documents(*texts), letters_only=True)  # the second has no words
    assert tokenized.documents.tolist() == [0, 3, 5]
    limited = tokenize_corpus(documents(*texts), letters_only=True, limit=4)
    assert limited.documents.tolist() == [0, 3]
    words = reference_vocabulary(tokenized.counts())
    sentences = encode_sentences(tokenized, words)
    assert sentences.document_begins().tolist() == [0, 10, 16]
    assert sentences.subset(1, 5).document_begins().tolist() == [0, 6]
    np.testing.assert_array_equal(sentences.subset(4).documents, [2, 3])
    # Of a document whose first sentence is left out, the next one is the first.
    assert sentences.up_to(3).document_begins().tolist() == [0, 6, 12]
    np.testing.assert_array_equal(sentences.by_length().documents, [1, 1, 2, 2, 3, 1])
    with pytest.raises(ValueError, match="do not tell their documents"):
        corpus.Sentences(sentences.stream, sentences.offsets).document_begins()
