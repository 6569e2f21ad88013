"""Sentences and words are split as NLTK splits them with its own English parameters."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from rnn_jax.text import (
    LANGUAGES,
    iter_sentences,
    normalize_letters,
    read_documents,
    split_sentences,
    tokenize_words,
)


@pytest.mark.parametrize(
    "text, sentences",
    [
        ("It cost $3.50. Cheap!", ["It cost $3.50.", "Cheap!"]),
        (
            "Dr. Smith met Mr. Jones of Acme Inc. yesterday. They left.",
            ["Dr. Smith met Mr. Jones of Acme Inc. yesterday.", "They left."],
        ),
        ('"Stop!" he said. "Why?" she asked.', ['"Stop!"', "he said.", '"Why?"', "she asked."]),
        ("(It rained.) We left.", ["(It rained.)", "We left."]),
        ("wait... what? yes.", ["wait... what?", "yes."]),
        ("one line\nand the next. two", ["one line\nand the next.", "two"]),
        ("J. S. Bach wrote it. We sang.", ["J. S. Bach wrote it.", "We sang."]),
        ("in jan. it snows, in aug. it does not.", ["in jan. it snows, in aug. it does not."]),
        ("  padded.  text  ", ["  padded.", "text"]),
        ("", []),
        ("   \n", []),
    ],
)
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


WORDS = ["a", "B", "Mr", "e.g", "the", "3.5", "J", "Inc", "she", "No", "x!y", "--", "…", "u.s", '"',
         "'", ")", "(", "]", "``"]  # fmt: skip
MARKS = [".", "!", "?", "...", "!!", "?!", '."', ".)", "!')", " .", '?"', "--", ":", "", "", ""]
SPACES = [" ", " ", "  ", "\n", "\n\n", "\t", "", "\u00a0", "\x0c"]


def whole(text: str, language: str = "english") -> list[str]:
    """The definition: NLTK on the text at once."""
    from rnn_jax.text.tokenize import _sentence_splitter

    return list(_sentence_splitter(language).tokenize(text))


def test_sentences_of_pieces_are_those_of_the_whole() -> None:
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(
            rng.choice(WORDS) + rng.choice(MARKS) + rng.choice(SPACES)
            for _ in range(rng.randrange(60))
        )
        for piece in (1, 7, rng.randint(1, 80), len(text) + 1):
            assert list(iter_sentences(text, piece)) == whole(text), (text, piece)


@pytest.mark.parametrize("piece", [1, 100, 999, 4096, 100_000])
def test_sentences_of_pieces_of_a_real_text(piece: int) -> None:
    text = "\n".join(read_documents("comments-sample").texts)
    assert list(iter_sentences(text, piece)) == whole(text)
    assert list(iter_sentences(text.lower(), piece)) == whole(text.lower())


def test_no_piece_is_much_longer_than_its_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnn_jax.text import tokenize

    splitter, lengths = tokenize._sentence_splitter("english"), []

    class Spy:
        def __init__(self, language: str) -> None:
            assert language == "english"

        def span_tokenize(self, text: str):
            lengths.append(len(text))
            return splitter.span_tokenize(text)

    monkeypatch.setattr(tokenize, "_sentence_splitter", Spy)
    text = "The boat came home late. Was it? No! " * 20_000
    assert sum(1 for _ in iter_sentences(text)) == 60_000
    assert max(lengths) <= 1 << 16
    assert sum(lengths) < 1.1 * len(text)  # little is looked at twice


def test_what_nltk_gives_up_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk.tokenize

    from rnn_jax.text import tokenize

    def give_up(*_: object, **__: object) -> None:
        raise TimeoutError

    class Slow:
        def __init__(self, language: str) -> None: ...

        span_tokenize = give_up

    monkeypatch.setattr(tokenize, "_sentence_splitter", Slow)
    with pytest.raises(ValueError, match="no sentence ends within 5 characters"):
        split_sentences("a b c")
    monkeypatch.setattr(nltk.tokenize, "word_tokenize", give_up)
    with pytest.raises(ValueError, match="a sentence of 5 characters is too long"):
        tokenize_words("a b c")


def test_parameters_are_those_of_punkt_tab():
    from rnn_jax.text.tokenize import _sentence_splitter

    parameters = _sentence_splitter("english")._params
    # The sizes in bytes of the four files of NLTK's punkt_tab/english.
    assert len("\n".join(parameters.abbrev_types)) == 619
    assert len("\n".join(parameters.sent_starters)) == 241
    assert len("\n".join(map("\t".join, parameters.collocations))) == 594
    rows = (f"{word}\t{flags}" for word, flags in parameters.ortho_context.items())
    assert len("\n".join(rows).encode()) >= 236303  # looking up a word adds it


@pytest.mark.parametrize(
    "language, text, sentences",
    [
        ("english", "Das kostet 3 Mio. Euro. Gut.", 3),
        ("german", "Das kostet 3 Mio. Euro. Gut.", 2),
        ("english", "Он жил на ул. Ленина. Хорошо.", 3),
        ("russian", "Он жил на ул. Ленина. Хорошо.", 2),
    ],
)
def test_abbreviations_are_those_of_the_language(language: str, text: str, sentences: int) -> None:
    assert len(split_sentences(text, language=language)) == sentences


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_splits_in_pieces(language: str) -> None:
    text = "\n".join(read_documents("comments-sample").texts)[:5000]
    sentences = whole(text, language)
    assert list(iter_sentences(text, 999, language=language)) == sentences
    assert len(sentences) > 20


def test_an_unknown_language_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="language 'klingon': choose one of czech, danish, dutch"):
        split_sentences("a", language="klingon")


def test_a_language_that_is_not_installed_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnn_jax.text import tokenize

    monkeypatch.setattr(tokenize, "LANGUAGES", (*LANGUAGES, "latin"))
    with pytest.raises(ValueError, match="no sentence splitter for latin: run pip install -U"):
        split_sentences("a", language="latin")


@pytest.mark.parametrize(
    "sentence, words",
    [
        ("i can't, won't.", ["i", "ca", "n't", ",", "wo", "n't", "."]),
        ('he said "no" (twice)', ["he", "said", "``", "no", "''", "(", "twice", ")"]),
        ("u.s. trains; 3,000 of them.", ["u.s.", "trains", ";", "3,000", "of", "them", "."]),
        ("", []),
    ],
)
def test_words(sentence, words):
    assert tokenize_words(sentence) == words


def test_normalize_letters():
    assert normalize_letters("  Don't -- 3 naïve_cats!\n") == "don t na ve cats"
    assert normalize_letters("1898") == ""


def test_import_needs_no_nltk():
    code = (
        "import sys, rnn_jax.text as t; assert 'nltk' not in sys.modules;"
        "t.split_sentences('A.'); assert 'nltk' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
