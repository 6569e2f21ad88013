"""A run's model on a text that it was not trained on."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from rnn_jax import text
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.runs.config import TrainConfig
from rnn_jax.runs.data import evaluated_sentences, evaluated_stream, targets
from rnn_jax.runs.encoded import Progress, encoded
from rnn_jax.runs.load import Run
from rnn_jax.training import make_evaluate
from rnn_jax.types import Array

__all__ = ["Evaluation", "bits_per_character", "evaluate_text"]


class Evaluation(NamedTuple):
    """How well a model predicts a text.

    loss: mean cross-entropy of the tokens that count, in nats.
    tokens: how many those are.
    unknown: targets that the vocabulary lacks.
    unknown_counts: whether they are among ``tokens``, as the unknown token that stands for them.
    unigram_loss: the entropy of these very tokens' frequencies, in nats: the best that a model
      without any context could reach.
    strange: what the whole text has that the vocabulary lacks, the most frequent first.
    """

    loss: float
    tokens: int
    unknown: int
    unknown_counts: bool
    unigram_loss: float
    strange: tuple[str, ...]

    @property
    def unknown_share(self) -> float:
        """The part of all targets that the vocabulary lacks."""
        return self.unknown / (self.tokens if self.unknown_counts else self.tokens + self.unknown)


def evaluate_text(
    run: Run,
    corpus: str,
    *,
    column: str | None = None,
    held_out: float = 0.0,
    progress: Progress | None = None,
) -> Evaluation:
    """The loss of a run's model on a text, tokenised as the run's own, in the run's vocabulary.

    A token that the vocabulary lacks is read as the unknown token. Where the run's own text had
    such tokens, the model has learned to predict it, and it counts as any other token does. Where
    the vocabulary holds all of that text, as it nearly always does for characters, nothing has
    trained the unknown token: its probability means nothing and is left out of the loss.

    Args:
      run: from `load_run`.
      corpus: name of a corpus, or path of a file or a folder.
      column: of a ``.csv`` file that holds the text; by default that of the run.
      held_out: evaluate on the last part of the text; 0: on all of it.
      progress: called now and then with the characters tokenised and their total.

    Raises:
      ValueError: no such corpus, one without a target, or one of which the model knows no token.
    """
    config = dataclasses.replace(
        run.config,
        corpus=corpus,
        column=run.config.column if column is None else column,
        held_out=held_out,
        max_sentences=None,
        max_tokens=None,
        max_length=None,
    )
    read = encoded(config, vocabulary=run.vocabulary, progress=progress)
    begin = _beginning(len(read.tokens), config)
    carry = None
    batches: Any
    if isinstance(read.tokens, np.ndarray):
        stream, first = read.tokens[begin:], read.first_tokens
        wanted = stream[1:]
        batches = evaluated_stream(config, stream, None if first is None else first[begin:])
        if config.stateful:
            carry = run.model.initial_carry((batches.batch_size,), run.params)
    else:
        sentences = read.tokens.subset(begin)
        wanted = targets(sentences)
        batches = evaluated_sentences(sentences)
    unknown = run.vocabulary.unknown
    ignored = None if unknown is None or unknown_is_trained(config, run.vocabulary) else unknown
    number = 0 if unknown is None else int((wanted == unknown).sum())
    counted = wanted if ignored is None else wanted[wanted != ignored]
    if number == len(wanted):
        raise ValueError(
            f"the model knows no token of {corpus}: give a text in the language and the letters "
            "of the one that it was trained on"
        )

    def loss(outputs: Array, targets: Array, *, mask: Array | None, reduction: Any) -> Array:
        if ignored is not None:
            mask = targets != ignored if mask is None else mask & (targets != ignored)
        return cross_entropy(outputs, targets, mask=mask, reduction=reduction)

    nats, _ = make_evaluate(run.model, loss=loss)(run.params, batches, carry)
    return Evaluation(
        float(nats) / len(counted),
        len(counted),
        number,
        ignored is None,
        _entropy(counted),
        read.strange,
    )


def unknown_is_trained(config: TrainConfig, vocabulary: text.Vocabulary) -> bool:
    """Whether the run's own text had tokens that its vocabulary lacks.

    A vocabulary has all tokens of its text unless it was cut, at 8000 or where the run says, or is
    that of another text.
    """
    cut = config.vocab_size is not None or len(vocabulary) >= 8000
    return cut or config.init_from is not None


def bits_per_character(loss: float, config: TrainConfig) -> float | None:
    """A loss in bits where tokens are characters; None where they are words."""
    return loss / math.log(2) if config.level == "char" else None


def _entropy(ids: np.ndarray) -> float:
    counts = np.unique(ids, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _beginning(size: int, config: TrainConfig) -> int:
    """Where the evaluated part begins, as `prepare` cuts it."""
    unit, least = ("sentences", 1) if config.in_sentences else ("tokens", 2)
    begin = size - math.ceil(size * config.held_out) if config.held_out else 0
    if size - begin < least:
        raise ValueError(
            f"{config.corpus} has {size} {unit}, too few to evaluate on"
            + (f" a part of {config.held_out}" if config.held_out else "")
            + ": use a longer text"
        )
    return begin
