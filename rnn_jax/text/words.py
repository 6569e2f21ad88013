"""NLTK's words at several times its speed: what stands between two spaces is looked up."""

from __future__ import annotations

import re

from rnn_jax.text.tokenize import tokenize_words

__all__ = ["Words"]

# Where a rule of NLTK's looks across a space: two apostrophes, one at either end of a word, and a
# quotation mark behind white space that is no plain space. And white space that NLTK does not know.
_ACROSS = re.compile(r"""''|(?<!\S)'|'(?!\S)|[^\S ]"|[^\S \n\t\r]""")
# A last word of these alone can be part of the end that NLTK looks for at a sentence's last period.
_ENDS = ".])}>\"'»”’"
# The words of letters alone that NLTK takes apart.
_CONTRACTED = {"cannot", "gimme", "gonna", "gotta", "lemme", "wanna"}
# What NLTK takes off the end of every word of letters and digits.
_MARKS = ",;:?!"
_MOST = 1 << 18  # entries of a table
_LONGEST = 64  # characters; what is longer is hardly seen twice


class Words:
    """`tokenize_words`, with a memory.

    NLTK's tokenizer is a chain of substitutions, and none but those in `_ACROSS` and at the ends of
    a sentence looks beyond the spaces around a word. So a word is split by NLTK once, between two
    others, and looked up from then on; first and last words have tables of their own. Sentences
    with something that reaches further are handed to NLTK as they are.

    Example:
        >>> Words()('"They don\\'t cost $3.88," he said.')
        ['``', 'They', 'do', "n't", 'cost', '$', '3.88', ',', "''", 'he', 'said', '.']
    """

    def __init__(self) -> None:
        self._first: dict[str, list[str]] = {}
        self._middle: dict[str, list[str]] = {}
        self._last: dict[str, list[str]] = {}

    def __call__(self, sentence: str) -> list[str]:
        """The tokens of one sentence."""
        words = sentence.split()
        if len(words) < 2 or not words[-1].strip(_ENDS) or _ACROSS.search(sentence):
            return tokenize_words(sentence)
        middle = self._middle
        tokens = list(self._first.get(words[0]) or self._split(words[0], self._first))
        for word in words[1:-1]:
            tokens += middle.get(word) or self._split(word, middle)
        tokens += self._last.get(words[-1]) or self._split(words[-1], self._last)
        return tokens

    def _split(self, word: str, table: dict[str, list[str]]) -> list[str]:
        marks = _MARKS + "." * (table is self._last)
        if _plain(word):
            tokens = [word]
        elif word[-1] in marks and _plain(word[:-1]):
            tokens = [word[:-1], word[-1]]
        # A word that no rule knows stands for what is before or behind.
        elif table is self._first:
            tokens = tokenize_words(f"{word} x")[:-1]
        elif table is self._last:
            tokens = tokenize_words(f"x {word}")[1:]
        else:
            tokens = tokenize_words(f"x {word} x")[1:-1]
        if len(word) <= _LONGEST:
            if len(table) >= _MOST:
                table.clear()
            table[word] = tokens
        return tokens


def _plain(word: str) -> bool:
    """Whether NLTK leaves a word as it is, wherever it stands."""
    return word.isascii() and word.isalnum() and word.lower() not in _CONTRACTED
