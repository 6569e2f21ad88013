"""A text as one stream of characters or words, not split into sentences, in little memory."""

from __future__ import annotations

import io
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnn_jax.text.corpus import Level
from rnn_jax.text.tokenize import normalize_letters
from rnn_jax.text.vocabulary import Vocabulary, frequency_vocabulary

Lines = Literal["glued", "spaced"]

_BLOCK = 1 << 20  # characters whose numbers are looked up together


def character_corpus(
    texts: Iterable[str],
    level: Level = "char",
    *,
    letters_only: bool = True,
    lines: Lines = "glued",
    max_tokens: int | None = None,
    min_frequency: int = 0,
    reserved: Iterable[str] = (),
) -> tuple[NDArray[np.int32], Vocabulary]:
    """One stream of characters or words, not split into sentences, as D2L does The Time Machine.

    Args:
        texts: lines, or whole texts, which are split into lines.
        level: "char" for characters, "word" for whatever is separated by spaces.
        letters_only: whether to clean each line with :func:`normalize_letters`; if not, a text is
            used as it is, including its case and line ends.
        lines: with ``letters_only``, "glued" for cleaned lines with nothing between them, as D2L's
            figures were made; "spaced" for a line's end that is a space as any other run of
            non-letters is.
        max_tokens: keep only that many tokens; the vocabulary is still that of the whole text.
        min_frequency: rarer tokens become ``<unk>``.
        reserved: more tokens for the vocabulary, after ``<unk>``.

    Returns:
        int32[N] and the vocabulary, by decreasing frequency.

    Raises:
        ValueError: the level or ``lines`` is unknown, ``max_tokens`` is below 1, or there are no
            tokens.

    Example:
        >>> ids, vocabulary = character_corpus(["Ab!", "", "b a"])
        >>> vocabulary.decode(ids), vocabulary.tokens
        (['a', 'b', 'b', ' ', 'a'], ('<unk>', 'a', 'b', ' '))
        >>> ids, vocabulary = character_corpus(["Ab!", "", "b a"], lines="spaced")
        >>> "".join(vocabulary.decode(ids))
        'ab b a'

    Reference:
        Zhang et al., Dive into Deep Learning, section 9.2.
    """
    if level not in ("word", "char"):
        raise ValueError(f"--level {level} is unknown; choose word or char")
    if lines not in ("glued", "spaced"):
        raise ValueError(f"lines must be 'glued' or 'spaced', not {lines!r}")
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens {max_tokens} leaves no text; it must be at least 1")
    if letters_only:
        texts = _cleaned(texts, " " if level == "word" or lines == "spaced" else "")
    ids, counts = (_characters if level == "char" else _words)(texts)
    if not len(ids):
        raise ValueError("the corpus contains no letters; use one with text")
    vocabulary = frequency_vocabulary(counts, min_frequency=min_frequency, reserved=tuple(reserved))
    ids = ids[:max_tokens]
    return renumbered(ids, vocabulary.encode(counts)), vocabulary


def document_begins(
    texts: Iterable[str],
    level: Level = "char",
    *,
    letters_only: bool = True,
    lines: Lines = "glued",
) -> NDArray[np.int64]:
    """Where each text begins in the stream that `character_corpus` makes of the same arguments.

    Returns:
        int64[D], increasing; texts without a token are left out.

    Example:
        >>> document_begins(["Ab!", "", "b a"], lines="spaced")
        array([0, 3])
    """
    separator = " " if letters_only and (level == "word" or lines == "spaced") else ""
    begins, end = array("q"), 0
    for text in _cleaned(texts, separator) if letters_only else texts:
        size = len(text if level == "char" else text.split())
        # A cleaned text comes with the space that parts it from the one before it.
        before = len(separator) if begins and level == "char" else 0
        if size:
            begins.append(end + before)
        end += size
    return np.array(begins, np.int64)


def renumbered(ids: NDArray[np.int32], numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """``ids`` themselves, each replaced by its entry of ``numbers``.

    In place and block by block: further arrays of a text's length would be the largest of all.

    Example:
        >>> renumbered(np.array([0, 2, 1, 0], np.int32), np.array([5, 6, 7], np.int32))
        array([5, 7, 6, 5], dtype=int32)
    """
    for start in range(0, len(ids), _BLOCK):
        ids[start : start + _BLOCK] = numbers[ids[start : start + _BLOCK]]
    return ids


def _cleaned(texts: Iterable[str], separator: str) -> Iterator[str]:
    """The cleaned lines of each text that are not empty, joined, and a separator between texts."""
    begun = False
    for text in texts:
        lines = (normalize_letters(line) for line in io.StringIO(text, newline="\n"))
        joined = separator.join(line for line in lines if line)
        if joined:
            yield separator + joined if begun else joined
            begun = True


def _characters(texts: Iterable[str]) -> tuple[NDArray[np.int32], Counter[str]]:
    """Each character's number in the order of first appearance, and how often each occurs."""
    number = np.full(0x110000, -1, np.int32)  # by code point
    order: list[int] = []
    counts = np.zeros(0, np.int64)
    ids = array("i")
    for text in texts:
        for start in range(0, len(text), _BLOCK):
            block = text[start : start + _BLOCK].encode("utf-32-le", "surrogatepass")
            codes = np.frombuffer(block, np.uint32)
            new, first = np.unique(codes[number[codes] < 0], return_index=True)
            new = new[np.argsort(first)]
            number[new] = len(order) + np.arange(len(new))
            order += new.tolist()
            numbers = number[codes]
            counts = np.bincount(numbers, minlength=len(order)) + np.pad(
                counts, (0, len(order) - len(counts))
            )
            ids.frombytes(numbers.tobytes())
    return np.frombuffer(ids, np.int32), Counter(
        dict(zip(map(chr, order), counts.tolist(), strict=True))
    )


def _words(texts: Iterable[str]) -> tuple[NDArray[np.int32], Counter[str]]:
    """The same for words."""
    index: dict[str, int] = {}
    ids = array("i")
    for text in texts:
        ids.extend(index.setdefault(word, len(index)) for word in text.split())
    numbers = np.frombuffer(ids, np.int32)
    counts = np.bincount(numbers, minlength=len(index))
    return numbers, Counter(dict(zip(index, counts.tolist(), strict=True)))
