"""Sentences and words are split as NLTK splits them with its own English parameters."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rnn_jax.text import normalize_letters, split_sentences, tokenize_words


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


def test_parameters_are_those_of_punkt_tab():
    from rnn_jax.text.tokenize import _sentence_splitter

    parameters = _sentence_splitter()._params
    # The sizes in bytes of the four files of NLTK's punkt_tab/english.
    assert len("\n".join(parameters.abbrev_types)) == 619
    assert len("\n".join(parameters.sent_starters)) == 241
    assert len("\n".join(map("\t".join, parameters.collocations))) == 594
    rows = (f"{word}\t{flags}" for word, flags in parameters.ortho_context.items())
    assert len("\n".join(rows).encode()) >= 236303  # looking up a word adds it


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
