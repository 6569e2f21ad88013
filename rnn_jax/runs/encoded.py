"""From a configuration to its whole text in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_jax import text
from rnn_jax.runs.config import TrainConfig

__all__ = ["Encoded", "Progress", "encoded"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Encoded:
    """A text in the ids of a vocabulary: sentences, or one stream ``int32[N]``.

    begins: where documents begin in a stream, if the state starts anew there.
    left_out: the sentences that are longer than ``max_length``.
    strange: what of the text is not in the vocabulary, the most frequent or first to appear first.
    """

    documents: text.Documents
    vocabulary: text.Vocabulary
    tokens: text.Sentences | np.ndarray
    begins: np.ndarray | None
    left_out: int
    strange: tuple[str, ...]

    @property
    def first_tokens(self) -> np.ndarray | None:
        """``begins`` as ``bool[N]``."""
        if self.begins is None:
            return None
        first = np.zeros(len(self.tokens), bool)
        first[self.begins[self.begins < len(first)]] = True
        return first


def encoded(
    config: TrainConfig,
    *,
    vocabulary: text.Vocabulary | None = None,
    progress: Progress | None = None,
) -> Encoded:
    """The whole text of a configuration in numbers; the arguments are those of `prepare`."""
    documents = text.read_documents(config.corpus, column=config.column)
    if config.from_sentences:
        tokenized = text.tokenize_corpus(
            documents,
            level=config.level,
            letters_only=config.letters_only,
            language=config.language,
            progress=progress,
        )
        if vocabulary is None:
            vocabulary = text.reference_vocabulary(tokenized.counts(), config.vocab_size)
        sentences = text.encode_sentences(tokenized, vocabulary).subset(0, config.max_sentences)
        everything = len(sentences)
        if config.max_length is not None:
            sentences = sentences.up_to(config.max_length + 2)  # with both markers
            if not len(sentences):
                raise ValueError(
                    f"--max-length {config.max_length} leaves out all {everything:,} sentences: "
                    "make it larger"
                )
        left_out = everything - len(sentences)
        strange = _strange(tokenized.types, vocabulary)
        if config.in_sentences:
            return Encoded(documents, vocabulary, sentences, None, left_out, strange)
        stream = sentences.stream
        begins = sentences.document_begins() if config.reset_at_documents else None
    else:
        left_out = 0
        # Texts as they are need a line's end between them; cleaned ones have theirs.
        texts = documents.texts
        if not config.letters_only and len(texts) > 1:
            texts = (*(f"{one}\n" for one in texts[:-1]), texts[-1])
        reading: Any = {
            "level": config.level,
            "letters_only": config.letters_only,
            "lines": "glued" if config.glue_lines else "spaced",
        }
        stream, found = text.character_corpus(texts, **reading)
        begins = text.document_begins(texts, **reading) if config.reset_at_documents else None
        if vocabulary is None:
            vocabulary = _most_frequent(found, config.vocab_size)
        strange = _strange(found.tokens, vocabulary)
        stream = text.renumbered(stream, vocabulary.encode(found.tokens))
    return Encoded(documents, vocabulary, stream[: config.max_tokens], begins, left_out, strange)


def _strange(types: Sequence[str], vocabulary: text.Vocabulary) -> tuple[str, ...]:
    return tuple(token for token in types if token not in vocabulary)


def _most_frequent(found: text.Vocabulary, size: int | None) -> text.Vocabulary:
    size = min(8000, len(found)) if size is None else size
    if size > len(found):
        raise ValueError(
            f"--vocab-size {size} does not fit: the corpus has {len(found)} tokens ("
            f"{found.tokens[0]} among them), so choose 2 to {len(found)}"
        )
    return text.Vocabulary(found.tokens[:size], found.unknown)
