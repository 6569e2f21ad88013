"""From text to numbers: corpora, tokens, vocabularies, sentences, batches. No JAX in here."""

from __future__ import annotations

from rnn_jax.text.batches import bucket_lengths, random_batches, sequential_batches
from rnn_jax.text.cache import cache_folder
from rnn_jax.text.characters import character_corpus, document_begins, renumbered
from rnn_jax.text.corpus import (
    Sentences,
    TokenizedCorpus,
    encode_sentences,
    tokenize_corpus,
)
from rnn_jax.text.download import fetch
from rnn_jax.text.named import NAMED_CORPORA, NamedCorpus
from rnn_jax.text.python_docs import collect
from rnn_jax.text.sources import (
    DEFAULT_CORPUS,
    Documents,
    Source,
    find_source,
    read_documents,
)
from rnn_jax.text.token_cache import cached_tokens
from rnn_jax.text.token_file import TokenFile
from rnn_jax.text.token_writer import write_tokens
from rnn_jax.text.tokenize import (
    LANGUAGES,
    iter_sentences,
    normalize_letters,
    split_sentences,
    tokenize_words,
)
from rnn_jax.text.tokenizing import Tokenizing, tokenize_source
from rnn_jax.text.vocabulary import (
    SENTENCE_END,
    SENTENCE_START,
    UNKNOWN_TOKEN,
    Vocabulary,
    byte_vocabulary,
    frequency_vocabulary,
    most_frequent,
    reference_vocabulary,
)

__all__ = [
    "DEFAULT_CORPUS",
    "LANGUAGES",
    "NAMED_CORPORA",
    "SENTENCE_END",
    "SENTENCE_START",
    "UNKNOWN_TOKEN",
    "Documents",
    "NamedCorpus",
    "Sentences",
    "Source",
    "TokenFile",
    "TokenizedCorpus",
    "Tokenizing",
    "Vocabulary",
    "bucket_lengths",
    "byte_vocabulary",
    "cache_folder",
    "cached_tokens",
    "character_corpus",
    "collect",
    "document_begins",
    "encode_sentences",
    "fetch",
    "find_source",
    "frequency_vocabulary",
    "iter_sentences",
    "most_frequent",
    "normalize_letters",
    "random_batches",
    "read_documents",
    "reference_vocabulary",
    "renumbered",
    "sequential_batches",
    "split_sentences",
    "tokenize_corpus",
    "tokenize_source",
    "tokenize_words",
    "write_tokens",
]
