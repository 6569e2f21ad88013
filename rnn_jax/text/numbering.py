"""A chunk of text in numbers of its own: the work that several processes share."""

from __future__ import annotations

import dataclasses
from array import array
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnn_jax.text.chunks import Chunk
from rnn_jax.text.formats import Piece
from rnn_jax.text.subwords import subwords
from rnn_jax.text.tokenize import normalize_letters, sentence_spans
from rnn_jax.text.vocabulary import SENTENCE_END, SENTENCE_START
from rnn_jax.text.words import Words

__all__ = ["Gap", "Numbered", "Reader", "forget", "narrow", "needed", "number", "subwords"]

# What is between letters where only letters are kept: nothing, other characters, a line's end.
Gap = Literal[0, 1, 2]

_LETTERS = bytes(
    ord(chr(i).lower()) if chr(i).isalpha() and i < 128 else (10 if i == 10 else 32)
    for i in range(256)
)


class Reader(NamedTuple):
    """How a text is read: the settings on which the numbers of a chunk depend.

    subwords: the path of a tokenizer.json, and the SHA-256 of its content.
    """

    level: Literal["word", "char", "byte", "subword"]
    sentences: bool
    letters_only: bool
    glue_lines: bool
    language: str
    subwords: tuple[str, str] | None = None


@dataclass(frozen=True, eq=False)
class Numbered:
    """A chunk in numbers.

    ids: uint[N], numbers in the order of first appearance, or for good if ``types`` is None.
    types: the tokens by number.
    counts: int64[len(types)], how often each occurs.
    begins: where documents begin, in tokens.
    pending: whether a document has begun of which there is no token yet.
    ends: where sentences end, in tokens.
    lead, tail: what is before the first and behind the last letter, where only letters are kept.
    """

    ids: NDArray[np.unsignedinteger[Any]]
    types: list[str] | None
    counts: NDArray[np.int64]
    begins: list[int]
    pending: bool
    ends: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    lead: Gap = 0
    tail: Gap = 0


def number(chunk: Chunk, reader: Reader) -> Numbered:
    """The tokens of a chunk in numbers."""
    if reader.sentences:
        return _sentences(chunk, reader)
    if reader.level == "subword":
        return _subwords(chunk, reader)
    if reader.level == "word":
        return _words(chunk, reader)
    return (_letters if reader.letters_only else _characters)(chunk, reader)


def needed(reader: Reader) -> list[str]:
    """The modules that `number` needs, some of which it imports when it is first called."""
    modules = [__name__]
    if reader.sentences:
        modules += ["nltk.tokenize", f"punkt.data.{reader.language}"]
    elif reader.level == "subword":
        modules += ["tokenizers"]
    return modules


def narrow(ids: NDArray[np.integer[Any]], size: int) -> NDArray[np.unsignedinteger[Any]]:
    """Numbers below ``size`` in the fewest bits."""
    return ids.astype(np.min_scalar_type(max(0, size - 1)), copy=False)


_split_words = cache(Words)


def forget() -> None:
    """Free the tables of words that `number` has made in this process: of a long text, 100 MB."""
    _split_words.cache_clear()


def _separated(chunk: Chunk) -> tuple[list[str], list[int]]:
    """The texts of a chunk with a line's end between two, and the pieces that begin one."""
    texts, begins = [], []
    for i, piece in enumerate(chunk.pieces):
        if piece.begins:
            begins.append(i)
        texts.append(f"\n{piece.text}" if _parted(chunk, i, piece) else piece.text)
    return texts, begins


def _parted(chunk: Chunk, i: int, piece: Piece) -> bool:
    return piece.begins and not (chunk.first and i == 0)


def _characters(chunk: Chunk, reader: Reader) -> Numbered:
    texts, begins = _separated(chunk)
    contents = (
        [text.encode("utf-8", "surrogatepass") for text in texts]
        if (reader.level == "byte")
        else texts
    )
    ends = np.cumsum([0, *map(len, contents)])
    places = [int(ends[i]) + _parted(chunk, i, chunk.pieces[i]) for i in begins]
    if reader.level == "byte":
        return _fixed(b"".join(contents), places)  # type: ignore[arg-type]
    joined = "".join(texts)
    if joined.isascii():
        return _ascii(joined.encode(), places)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    size = int(codes.max()) + 1
    # Backwards, because of several numbers for one place the last one stays.
    first = np.full(size, -1, np.int32)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1, dtype=np.int32)
    found = np.flatnonzero(first >= 0)
    order = found[np.argsort(first[found])]
    table = np.zeros(size, np.min_scalar_type(len(order)))
    table[order] = np.arange(len(order))
    ids = table[codes]
    counts = np.bincount(ids, minlength=len(order))
    return Numbered(ids, list(map(chr, order.tolist())), counts, places, False)


def _ascii(content: bytes, begins: list[int]) -> Numbered:
    """The same where one byte is one character."""
    counts = np.bincount(np.frombuffer(content, np.uint8), minlength=128)
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda code: content.find(code))
    table = bytearray(256)
    for i, code in enumerate(order):
        table[code] = i
    ids = np.frombuffer(content.translate(table), np.uint8)
    return Numbered(ids, list(map(chr, order)), counts[order], begins, False)


def _fixed(content: bytes, begins: list[int]) -> Numbered:
    none = np.zeros(0, np.int64)
    return Numbered(np.frombuffer(content, np.uint8), None, none, begins, False)


def _letters(chunk: Chunk, reader: Reader) -> Numbered:
    """Letters alone, as `normalize_letters` cleans each line."""
    out: list[bytes] = []
    done = 0
    begins: list[int] = []
    pending = False
    gap: Gap = 0
    lead: Gap = 0
    between = (b"", b" ", b"" if reader.glue_lines else b" ")
    texts, _ = _separated(chunk)
    for piece, text in zip(chunk.pieces, texts, strict=True):
        pending = pending or piece.begins
        content = text.encode("ascii", "replace").translate(_LETTERS)
        lines = content.split(b"\n") if reader.glue_lines else [content]
        body = b"".join(b" ".join(line.split()) for line in lines)
        if not body:
            gap = max(gap, _gap(content))
            continue
        before = max(gap, _gap(content[: len(content) - len(content.lstrip())]))
        if out:
            out.append(between[before])
            done += len(between[before])
        else:
            lead = before
        if pending:
            begins.append(done)
            pending = False
        out.append(body)
        done += len(body)
        gap = _gap(content[len(content.rstrip()) :])
    content = b"".join(out)
    numbered = _fixed(content, begins) if reader.level == "byte" else _ascii(content, begins)
    lead = lead if out else gap
    return dataclasses.replace(numbered, pending=pending, lead=lead, tail=gap)


def _gap(content: bytes) -> Gap:
    return 2 if b"\n" in content else 1 if content else 0


class _Index:
    """Tokens as they come, in numbers of first appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.ids = array("i")

    def add(self, tokens: list[str]) -> None:
        numbers = self._numbers
        self.ids.extend([numbers.setdefault(token, len(numbers)) for token in tokens])

    def numbered(self, begins: list[int], pending: bool, ends: list[int] | None = None) -> Numbered:
        size = len(self._numbers)
        ids = np.frombuffer(self.ids, np.int32) if self.ids else np.zeros(0, np.int32)
        counts = np.bincount(ids, minlength=size)
        places = np.array(ends or [], np.int64)
        return Numbered(narrow(ids, size), list(self._numbers), counts, begins, pending, places)


def _words(chunk: Chunk, reader: Reader) -> Numbered:
    index = _Index()
    begins: list[int] = []
    pending = False
    for piece in chunk.pieces:
        pending = pending or piece.begins
        before = len(index.ids)
        text = normalize_letters(piece.text) if reader.letters_only else piece.text
        index.add(text.split())
        if pending and len(index.ids) > before:
            begins.append(before)
            pending = False
    return index.numbered(begins, pending)


def _sentences(chunk: Chunk, reader: Reader) -> Numbered:
    index = _Index()
    begins: list[int] = []
    ends: list[int] = []
    pending = False
    split: Any = list
    if reader.level == "word":
        split = str.split if reader.letters_only else _split_words()
    for i, piece in enumerate(chunk.pieces):
        pending = pending or piece.begins
        ahead = chunk.ahead if i == len(chunk.pieces) - 1 else ""
        text, stop = piece.text + ahead, len(piece.text)
        if reader.level == "word":
            text, stop = text.lower(), len(piece.text.lower())
        for begin, end in sentence_spans(text, language=reader.language):
            if begin >= stop:
                break
            sentence = text[begin : min(end, stop)]
            tokens = split(normalize_letters(sentence) if reader.letters_only else sentence)
            if not tokens:
                continue
            if pending:
                begins.append(len(index.ids))
                pending = False
            index.add([SENTENCE_START, *tokens, SENTENCE_END])
            ends.append(len(index.ids))
    return index.numbered(begins, pending, ends)


def _subwords(chunk: Chunk, reader: Reader) -> Numbered:
    assert reader.subwords is not None
    tokenizer = subwords(*reader.subwords)
    ids = array("I")
    begins: list[int] = []
    pending = False
    for i, piece in enumerate(chunk.pieces):
        if _parted(chunk, i, piece):
            ids.extend(tokenizer.encode("\n", add_special_tokens=False).ids)
        pending = pending or piece.begins
        try:
            found = tokenizer.encode(piece.text, add_special_tokens=False).ids
        except (TypeError, UnicodeEncodeError) as error:
            letter = next((one for one in piece.text if "\ud800" <= one <= "\udfff"), None)
            if letter is None:
                raise
            raise ValueError(
                f"the text holds half a character, U+{ord(letter):04X}, which subwords cannot "
                "express: take it out, or use --level char or byte"
            ) from error
        if pending and found:
            begins.append(len(ids))
            pending = False
        ids.extend(found)
    numbers = np.frombuffer(ids, np.uint32) if ids else np.zeros(0, np.uint32)
    return Numbered(numbers, None, np.zeros(0, np.int64), begins, pending)
