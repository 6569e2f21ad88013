"""From a configuration to the vocabulary and the batches of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np

from rnn_jax import text
from rnn_jax.runs.config import TrainConfig, make_model
from rnn_jax.runs.remembered import token_counts
from rnn_jax.runs.sentences import SentenceRange, fed_sentences
from rnn_jax.runs.streams import Covering, RandomCut, SequentialCut, Stream, fed_windows
from rnn_jax.runs.tokens import Part, Progress, left_out, part_of, tokens_of
from rnn_jax.text.token_file import TokenFile
from rnn_jax.training import Fed, SentenceStream, Windows
from rnn_jax.types import Model, Params

__all__ = [
    "Fitted",
    "RunData",
    "evaluated",
    "hash_of_test",
    "other_tokens",
    "prepare",
    "target_counts",
    "target_number",
    "whole",
]

Fitted = SentenceStream | Windows | Fed

_EVALUATION_ROWS = 16  # sentences evaluated at once; their order does not matter


@dataclass(frozen=True, eq=False)
class RunData:
    """What a run reads: vocabulary, training batches of every epoch, evaluation batches.

    training: the text that is trained on; none of it is in memory.
    evaluation: on the device if they are few, else read piece by piece.
    tokens: the number of targets in one epoch.
    unigram_loss: cross-entropy of the evaluation targets under the frequencies of the training
      targets (one added to each), in nats: what a model without any context reaches.
    left_out: the sentences that are longer than ``max_length``.
    valid_sha256: the hash of ``valid``, if there is one.
    unknown: the targets of ``valid`` that the vocabulary lacks.
    evaluated: the number of targets in one evaluation.
    """

    config: TrainConfig
    origin: str
    sha256: str
    vocabulary: text.Vocabulary
    training: Part
    evaluation: Fitted
    tokens: int
    unigram_loss: float
    left_out: int = 0
    valid_sha256: str | None = None
    unknown: int = 0
    evaluated: int = 0

    @cached_property
    def model(self) -> Model:
        """The run's model, not truncated."""
        return make_model(self.config, len(self.vocabulary))

    @property
    def initial_parameters(self) -> Params:
        """The parameters that the run starts from, made anew; nothing holds them for long."""
        return self.model.init(jax.random.key(self.config.seed))

    @property
    def parameter_shapes(self) -> Params:
        """Their shapes and dtypes."""
        return jax.eval_shape(self.model.init, jax.random.key(0))

    @property
    def batch_bytes(self) -> int:
        """What the logits of one batch take at least, padding included."""
        steps = self.config.seq_length
        if isinstance(self.training, SentenceRange):
            steps = self.training.buckets[-1]
        return 4 * steps * self.config.batch_size * len(self.vocabulary)

    @property
    def documents(self) -> int | None:
        """At how many places of the training text the state starts anew; None if it never does."""
        if isinstance(self.training, SentenceRange) or self.training.places is None:
            return None
        return self.training.documents

    @property
    def steps_per_epoch(self) -> int:
        """The batches of an epoch; a random offset may cost one."""
        size = self.config.batch_size
        if isinstance(self.training, SentenceRange):
            return -(-len(self.training) // size)
        return (len(self.training) - 1) // self.config.seq_length // size

    def epoch(self, number: int) -> tuple[Fitted, int]:
        """The batches of epoch ``number`` and how many of them are real."""
        config = self.config
        if isinstance(self.training, SentenceRange):
            return self._sentences, self.steps_per_epoch
        # The random offset may cost a batch; padding keeps the shape, so nothing is compiled anew.
        cut = _cut(config, self.training, number)
        return fed_windows(cut, self.steps_per_epoch), cut.count

    @cached_property
    def _sentences(self) -> SentenceStream | Fed:
        assert isinstance(self.training, SentenceRange)
        return fed_sentences(self.training, self.config.batch_size)


def prepare(
    config: TrainConfig,
    *,
    vocabulary: text.Vocabulary | None = None,
    processes: int | None = 1,
    progress: Progress | None = None,
) -> RunData:
    """Find, tokenise and cut the corpus of a configuration, however large it is.

    Args:
      config: the configuration.
      vocabulary: the vocabulary of an existing run; None makes one of the training text.
      processes: how many tokenise a text that was not tokenised before, as for
        `tokenize_source`.
      progress: called now and then with the bytes tokenised and their total.

    Raises:
      ValueError: no such corpus, or one that is too short for the configuration.
    """
    tokens = tokens_of(config, vocabulary=vocabulary, processes=processes, progress=progress)
    vocabulary, everything = tokens.vocabulary, part_of(config, tokens)
    if config.vocab_size is None and tokens.settings.get("vocab_size") is not None:
        # A token file whose vocabulary was cut: the text has tokens that it lacks.
        config = config.changed(vocab_size=len(vocabulary))
    valid_sha256, unknown = None, 0
    if config.valid is None:
        cut = _training_part(config, everything)
        training = everything.part(0, cut)
        held_out = everything.part(cut, len(everything)) if config.held_out else training
    else:
        other = other_tokens(config, config.valid, vocabulary, processes, progress)
        training, held_out = everything, part_of(whole(config), other)
        if target_number(held_out) < 1:
            raise ValueError(f"--valid {config.valid} holds no target: use a longer text")
        valid_sha256 = other.sha256
    if isinstance(training, Stream):
        _cut(config, training, 0)  # long enough?
    wanted = target_counts(held_out)
    if valid_sha256 is not None and vocabulary.unknown is not None:
        unknown = int(wanted[vocabulary.unknown])
    return RunData(
        config,
        tokens.description["source"].get("origin", f"file {tokens.path}"),
        tokens.sha256,
        vocabulary,
        training,
        evaluated(config, held_out),
        target_number(training),
        _unigram_loss(target_counts(training), wanted),
        left_out(tokens),
        valid_sha256,
        unknown,
        target_number(held_out),
    )


def hash_of_test(
    config: TrainConfig,
    vocabulary: text.Vocabulary,
    processes: int | None = 1,
    progress: Progress | None = None,
) -> str | None:
    """The hash of the text of ``--test``, which is to be there at the end; None without one.

    Raises:
      ValueError: no such text, or one that holds no target.
    """
    if config.test is None:
        return None
    other = other_tokens(config, config.test, vocabulary, processes, progress)
    if target_number(part_of(whole(config), other)) < 1:
        raise ValueError(f"--test {config.test} holds no target: use a longer text")
    return other.sha256


def other_tokens(
    config: TrainConfig,
    corpus: str | Sequence[str],
    vocabulary: text.Vocabulary,
    processes: int | None = 1,
    progress: Progress | None = None,
) -> TokenFile:
    """Another text in the vocabulary of a run."""
    return tokens_of(
        whole(config),
        corpus=corpus,
        vocabulary=vocabulary,
        processes=processes,
        progress=progress,
    )


def evaluated(config: TrainConfig, part: Part) -> Fitted:
    """A text in the batches that it is evaluated in: every target once."""
    if isinstance(part, SentenceRange):  # each from the initial state
        return fed_sentences(part, _EVALUATION_ROWS, by_length=True)
    cut = Covering(part, config.batch_size, config.seq_length)
    return fed_windows(cut, cut.count)


def target_number(part: Part) -> int:
    """How many targets a text has."""
    return part.word_count if isinstance(part, SentenceRange) else len(part) - 1


def target_counts(part: Part) -> np.ndarray:
    """int64[V]: how often each id is a target: all but what a sentence or a stream begins with."""
    tokens = part.tokens
    vocabulary = tokens.vocabulary
    name = [tokens.description["sums"], type(part).__name__, part.start, part.stop]
    size = part.token_count if isinstance(part, SentenceRange) else len(part)
    counts = token_counts(part.blocks(), len(vocabulary), name, size).copy()
    if isinstance(part, SentenceRange):
        counts[vocabulary.id(text.SENTENCE_START)] -= len(part)
    else:
        counts[int(tokens.read(part.start, part.start + 1)[0])] -= 1
    return counts


def whole(config: TrainConfig) -> TrainConfig:
    """The settings of a run for a text of which nothing is held out or left out."""
    return config.changed(
        held_out=0.0,
        test=None,
        max_sentences=None,
        max_tokens=None,
        max_length=None,
        vocab_size=None,
    )


def _cut(config: TrainConfig, stream: Stream, number: int) -> RandomCut | SequentialCut:
    """The batches of an epoch, whose places depend on seed, epoch and the stream's length."""
    cut = SequentialCut if config.stateful else RandomCut
    rng = np.random.default_rng((config.seed, number))
    return cut(stream, config.batch_size, config.seq_length, rng)


def _training_part(config: TrainConfig, everything: Part) -> int:
    """How much of a text is trained on; neither side is left without a single target."""
    in_sentences = isinstance(everything, SentenceRange)
    unit, least = ("sentences", 1) if in_sentences else ("tokens", 2)
    size, held_out = len(everything), config.held_out or 0.0
    cut = size - math.ceil(size * held_out)
    if cut < least or (held_out and size - cut < least):
        raise ValueError(
            f"the corpus has {size} {unit}, too few to hold a part of {held_out} out: "
            "use a larger corpus or --held-out 0"
        )
    return cut


def _unigram_loss(seen: np.ndarray, wanted: np.ndarray) -> float:
    """The cross-entropy of ``wanted`` targets under the frequencies of those ``seen``, plus one."""
    counts = seen.astype(float) + 1
    nats = -np.log(counts / counts.sum())
    return float(nats @ wanted.astype(float) / wanted.sum())
