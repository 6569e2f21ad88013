"""The published training of word models: sentences of a corpus, one a step, the rate halved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

import rnn_jax
from rnn_jax import text
from rnn_jax.host.files import Row
from rnn_jax.recipes.fit import fit
from rnn_jax.recipes.options import RecipeOptions, option
from rnn_jax.reference import NumpyRNN
from rnn_jax.types import Model, Params

__all__ = [
    "Evaluation",
    "SentenceOptions",
    "batched",
    "initial_parameters",
    "print_evaluation",
    "read_sentences",
    "train",
    "word_model",
]

VOCAB_SIZE = 8000


@dataclass(frozen=True)
class SentenceOptions(RecipeOptions):
    """The text, the model and its training."""

    corpus: str = option("python-docs", "Name of a corpus, or path of a file or a folder.")
    column: str = option("body", "Column of a table, or key of a record, that holds the text.")
    sentences: int = option(100, "First so many sentences, to train on as published.")
    epochs: int = option(10, "Passes over these sentences.")
    hidden_size: int = option(100, "Hidden units.")
    rate: float = option(0.005, "Learning rate, halved when the loss rises.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "sentences", "epochs", "hidden_size")
        self.above_zero("rate")


def read_sentences(options: SentenceOptions) -> tuple[text.Vocabulary, text.Sentences]:
    """The corpus by the published pipeline, with the messages that it prints.

    Lower-cased, split into sentences and words, with markers around each sentence; the 7,999 most
    frequent words and UNKNOWN_TOKEN, or fewer where there are fewer.
    """
    documents = text.read_documents(options.corpus, column=options.column)
    tokenized = text.tokenize_corpus(documents)
    counts = tokenized.counts()
    size = min(VOCAB_SIZE, len(counts) + 1)
    vocabulary = text.reference_vocabulary(counts, size)
    rarest = vocabulary.tokens[-2]
    sentences = text.encode_sentences(tokenized, vocabulary)
    x, y = sentences.pair(0)
    print(f"Parsed {len(sentences):,} sentences of {documents.origin}.")
    print(f"Found {len(counts):,} unique words tokens.")
    print(f"Using vocabulary size {size}.")
    print(
        f"The least frequent word in our vocabulary is '{rarest}' and appeared "
        f"{counts[rarest]} times."
    )
    print(f"x:\n{' '.join(vocabulary.decode(x))}\n{x.tolist()}")
    print(f"y:\n{' '.join(vocabulary.decode(y))}\n{y.tolist()}\n")
    return vocabulary, sentences


def word_model(vocab_size: int, hidden_size: int) -> rnn_jax.LanguageModel:
    """``s_t = tanh(U[:, x_t] + W s_{t-1})``, ``o_t = softmax(V s_t)``."""
    layer = rnn_jax.recurrent(rnn_jax.elman(hidden_size, bias=False))
    return rnn_jax.language_model(vocab_size, layer, bias=False)


def initial_parameters(vocab_size: int, hidden_size: int, seed: int) -> tuple[NumpyRNN, Params]:
    """The NumPy model with fresh weights in ±1/√fan-in, and the same weights here, float32."""
    model = NumpyRNN.init(vocab_size, hidden_size, seed=seed)
    return model, rnn_jax.interop.from_uvw(*map(np.float32, (model.U, model.V, model.W)))


def batched(sentences: text.Sentences, batch_size: int = 1) -> rnn_jax.SentenceStream:
    """Sentences as data on the device, padded to one of a few lengths."""
    return rnn_jax.sentence_stream(
        sentences.stream, sentences.offsets, buckets=text.bucket_lengths(sentences.lengths),
        batch_size=batch_size,
    )  # fmt: skip


class Evaluation(NamedTuple):
    """The training at one look at the loss.

    rate: the learning rate so far, before this loss halves it.
    """

    epoch: int
    seen: int
    loss: float
    rate: float


def train(
    model: Model,
    params: Params,
    sentences: text.Sentences,
    *,
    evaluate: Callable[[Params], float],
    epochs: int,
    rate: float = 0.005,
    tell: Callable[[Evaluation], None] = lambda _: None,
) -> Params:
    """Plain SGD, one sentence a step in the order of the text, the sentence's loss summed.

    Args:
      model: truncated as it is to be trained.
      params: left alone.
      sentences: the training text.
      evaluate: the loss to be watched; the rate is halved when it is higher than the time before.
      epochs: passes over the sentences.
      rate: the learning rate at first.
      tell: hears of an evaluation before each epoch, and of one at the end.

    Returns:
      The last parameters.
    """

    def told(row: Row, _: Params) -> None:
        epoch = row["epoch"]
        tell(Evaluation(epoch, epoch * len(sentences), row["loss"], row["learning_rate"]))

    state, _ = fit(
        model, rnn_jax.sgd(rate), batched(sentences),
        epochs=epochs, params=params, key=jax.random.key(0),  # for a randomised truncation
        loss=partial(rnn_jax.cross_entropy, reduction="sum"), summed=True,
        validation=evaluate, on_evaluation=[rnn_jax.halve()], listeners=[told],
    )  # fmt: skip
    return state.params


def print_evaluation(evaluation: Evaluation) -> None:
    """The line that the original prints."""
    print(
        f"{datetime.now():%Y-%m-%d %H:%M:%S}: Loss after num_examples_seen={evaluation.seen} "
        f"epoch={evaluation.epoch}: {evaluation.loss:.6f}",
        flush=True,
    )
