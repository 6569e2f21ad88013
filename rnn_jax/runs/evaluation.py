"""A run's model on a text that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnn_jax import text
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.losses.linear_cross_entropy import linear_cross_entropy
from rnn_jax.losses.reduction import Reduction
from rnn_jax.runs.config import TrainConfig
from rnn_jax.runs.data import evaluated, other_tokens, target_counts, whole
from rnn_jax.runs.load import Run
from rnn_jax.runs.sentences import SentenceRange
from rnn_jax.runs.tokens import Part, Progress, part_of
from rnn_jax.training import make_evaluate
from rnn_jax.types import Array

__all__ = ["Evaluation", "bits_per_unit", "evaluate_text"]


class Evaluation(NamedTuple):
    """How well a model predicts a text.

    loss: mean cross-entropy of the tokens that count, in nats.
    tokens: how many those are.
    unknown: targets that the vocabulary lacks.
    unknown_counts: whether they are among ``tokens``, as the unknown token that stands for them.
    unigram_loss: the entropy of these very tokens' frequencies, in nats: the best that a model
      without any context could reach.
    strange: what the whole text has that the vocabulary lacks, the first to appear first.
    sha256: the hash of the text.
    """

    loss: float
    tokens: int
    unknown: int
    unknown_counts: bool
    unigram_loss: float
    strange: tuple[str, ...]
    sha256: str

    @property
    def unknown_share(self) -> float:
        """The part of all targets that the vocabulary lacks."""
        return self.unknown / (self.tokens if self.unknown_counts else self.tokens + self.unknown)


def evaluate_text(
    run: Run,
    corpus: str | Sequence[str],
    *,
    column: str | None = None,
    held_out: float = 0.0,
    processes: int | None = 1,
    progress: Progress | None = None,
) -> Evaluation:
    """The loss of a run's model on a text, tokenised as the run's own, in the run's vocabulary.

    A token that the vocabulary lacks is read as the unknown token. Where the run's own text had
    such tokens, the model has learned to predict it, and it counts as any other token does. Where
    the vocabulary holds all of that text, as it nearly always does for characters, nothing has
    trained the unknown token: its probability means nothing and is left out of the loss.

    Args:
      run: from `load_run`.
      corpus: name of a corpus, or path of a file or a folder; or several.
      column: of a ``.csv`` file that holds the text; by default that of the run.
      held_out: evaluate on the last part of the text; 0: on all of it.
      processes: how many tokenise, as for `tokenize_source`.
      progress: called now and then with the bytes tokenised and their total.

    Raises:
      ValueError: no such corpus, one without a target, or one of which the model knows no token.
    """
    trained = run.config
    config = whole(trained).changed(
        corpus=corpus,
        column=trained.column if column is None else column,
        held_out=held_out,
    )
    tokens = other_tokens(config, corpus, run.vocabulary, processes, progress)
    everything = part_of(config, tokens)
    part = everything.part(_beginning(everything, config), len(everything))
    batches = evaluated(config, part)
    carry = None
    if config.stateful:
        carry = run.model.initial_carry((batches.batch_size,), run.params)
    counts = target_counts(part)
    unknown = run.vocabulary.unknown
    ignored = None if unknown is None or unknown_is_trained(trained, run.vocabulary) else unknown
    number = 0 if unknown is None else int(counts[unknown])
    if number == counts.sum():
        raise ValueError(
            f"the model knows no token of {config.corpus_shown}: give a text in the language and "
            "the letters of the one that it was trained on"
        )
    if ignored is not None:
        counts[ignored] = 0
    counted = int(counts.sum())

    loss: Any = cross_entropy if ignored is None else _Without(ignored)
    nats, _ = make_evaluate(run.model, loss=loss)(run.params, batches, carry)
    return Evaluation(
        float(nats) / counted,
        counted,
        number,
        ignored is None,
        _entropy(counts),
        tuple(tokens.description["source"].get("strange", ())),
        tokens.sha256,
    )


@dataclass(frozen=True)
class _Without:
    """The cross-entropy of all targets but one token, of outputs or of a read-out's features."""

    token: int

    def __call__(
        self, outputs: Array, targets: Array, *, mask: Array | None, reduction: Reduction
    ) -> Array:
        mask = self._counted(targets, mask)
        return cross_entropy(outputs, targets, mask=mask, reduction=reduction)

    def of_features(
        self,
        features: Array,
        w: Array,
        b: Array | None,
        targets: Array,
        *,
        mask: Array | None,
        **options: Any,
    ) -> Array:
        """The same; the options are those of `linear_cross_entropy`."""
        mask = self._counted(targets, mask)
        return linear_cross_entropy(features, w, b, targets, mask=mask, **options)

    def _counted(self, targets: Array, mask: Array | None) -> Array:
        return targets != self.token if mask is None else mask & (targets != self.token)


def unknown_is_trained(config: TrainConfig, vocabulary: text.Vocabulary) -> bool:
    """Whether the run's own text had tokens that its vocabulary lacks.

    A vocabulary has all tokens of its text unless it was cut, at 8000 or where the run says, or is
    that of another text.
    """
    if config.unit == "subword":  # which its tokens are, whatever text they were made of
        return True
    cut = config.vocab_size is not None or len(vocabulary) >= 8000
    return cut or config.init_from is not None


def bits_per_unit(loss: float, config: TrainConfig, unit: str) -> float | None:
    """A loss in bits where tokens are of this unit, such as "character"; None where they are not.

    Of words and subwords it would depend on how long they are in the text.
    """
    return loss / math.log(2) if config.unit == unit else None


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _beginning(everything: Part, config: TrainConfig) -> int:
    """Where the evaluated part begins, as `prepare` cuts it."""
    in_sentences, size = isinstance(everything, SentenceRange), len(everything)
    unit, least = ("sentences", 1) if in_sentences else ("tokens", 2)
    begin = size - math.ceil(size * config.held_out) if config.held_out else 0
    if size - begin < least:
        raise ValueError(
            f"{config.corpus_shown} has {size} {unit}, too few to evaluate on"
            + (f" a part of {config.held_out}" if config.held_out else "")
            + ": use a longer text"
        )
    return begin
