"""From a configuration to the vocabulary and the batches of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np

from rnn_jax import text
from rnn_jax.runs.config import TrainConfig, make_model
from rnn_jax.runs.encoded import Encoded, Progress, encoded
from rnn_jax.training import SentenceStream, Windows, sentence_stream
from rnn_jax.training.batches import covering, stacked
from rnn_jax.types import Model, Params

__all__ = [
    "RunData",
    "evaluated_sentences",
    "evaluated_stream",
    "prepare",
    "targets",
]

_EVALUATION_ROWS = 16  # sentences evaluated at once; their order does not matter


@dataclass(frozen=True, eq=False)
class RunData:
    """What a run reads: vocabulary, training batches of every epoch, evaluation batches.

    tokens: the number of targets in one epoch.
    unigram_loss: cross-entropy of the evaluation targets under the frequencies of the training
      targets (one added to each), in nats: what a model without any context reaches.
    left_out: the sentences that are longer than ``max_length``.
    begins: ``bool[N]`` over the training stream, True where the state starts anew; None where it
      never does.
    """

    config: TrainConfig
    origin: str
    sha256: str
    vocabulary: text.Vocabulary
    training: text.Sentences | np.ndarray
    evaluation: SentenceStream | Windows
    tokens: int
    unigram_loss: float
    left_out: int = 0
    begins: np.ndarray | None = None

    @cached_property
    def model(self) -> Model:
        """The run's model, not truncated."""
        return make_model(self.config, len(self.vocabulary))

    @cached_property
    def initial_parameters(self) -> Params:
        """The parameters that the run starts from."""
        return self.model.init(jax.random.key(self.config.seed))

    @property
    def batch_bytes(self) -> int:
        """What the logits of one batch take at least, padding included."""
        steps = self.config.seq_length
        if isinstance(self.training, text.Sentences):
            steps = int(self.training.lengths.max()) - 1
        return 4 * steps * self.config.batch_size * len(self.vocabulary)

    @property
    def steps_per_epoch(self) -> int:
        """The batches of an epoch; a random offset may cost one."""
        size = self.config.batch_size
        if isinstance(self.training, text.Sentences):
            return -(-len(self.training) // size)
        return (len(self.training) - 1) // self.config.seq_length // size

    def epoch(self, number: int) -> tuple[SentenceStream | Windows, int]:
        """The batches of epoch ``number`` and how many of them are real."""
        config = self.config
        if isinstance(self.training, text.Sentences):
            stream = _stream(self.training, config.batch_size)
            return stream, stream.count
        pairs = list(_cut(config, self.training, (config.seed, number)))
        resets = None
        if self.begins is not None:
            # With the same seed, they are cut in the same places.
            resets = (begins for begins, _ in _cut(config, self.begins, (config.seed, number)))
        # The random offset may cost a batch; padding keeps the shape, so nothing is compiled anew.
        return stacked(pairs, self.steps_per_epoch, resets=resets), len(pairs)


def prepare(
    config: TrainConfig,
    *,
    vocabulary: text.Vocabulary | None = None,
    progress: Progress | None = None,
) -> RunData:
    """Read, tokenise and cut the corpus of a configuration.

    Args:
      config: the configuration.
      vocabulary: the vocabulary of an existing run; None makes one of the training text.
      progress: called now and then with the characters tokenised and their total.

    Raises:
      ValueError: no such corpus, or one that is too short for the configuration.
    """
    read = encoded(config, vocabulary=vocabulary, progress=progress)
    join = _from_stream if isinstance(read.tokens, np.ndarray) else _from_sentences
    return join(config, read)


def _cut(
    config: TrainConfig, stream: np.ndarray, seed: int | tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of one epoch, whose places depend on the seed and the stream's length."""
    cut = text.sequential_batches if config.stateful else text.random_batches
    return cut(stream, config.batch_size, config.seq_length, np.random.default_rng(seed))


def _from_sentences(config: TrainConfig, read: Encoded) -> RunData:
    sentences = read.tokens
    assert isinstance(sentences, text.Sentences)
    cut = _training_part(config, len(sentences), "sentences")
    training = sentences.subset(0, cut)
    held_out = sentences.subset(cut) if config.held_out else training
    return RunData(
        config,
        read.documents.origin,
        read.documents.sha256,
        read.vocabulary,
        training,
        evaluated_sentences(held_out),
        training.word_count,
        _unigram_loss(targets(training), targets(held_out), len(read.vocabulary)),
        read.left_out,
    )


def _from_stream(config: TrainConfig, read: Encoded) -> RunData:
    stream = read.tokens
    assert isinstance(stream, np.ndarray)
    cut = _training_part(config, len(stream), "tokens")
    evaluated = slice(cut, None) if config.held_out else slice(cut)
    training, held_out = stream[:cut], stream[evaluated]
    next(iter(_cut(config, training, 0)))  # long enough?
    begins = read.first_tokens
    return RunData(
        config,
        read.documents.origin,
        read.documents.sha256,
        read.vocabulary,
        training,
        evaluated_stream(config, held_out, None if begins is None else begins[evaluated]),
        len(training) - 1,
        _unigram_loss(training[1:], held_out[1:], len(read.vocabulary)),
        read.left_out,
        None if begins is None else begins[:cut],
    )


def evaluated_sentences(sentences: text.Sentences) -> SentenceStream:
    """Sentences in the batches that they are evaluated in, each from the initial state."""
    return _stream(sentences.by_length(), _EVALUATION_ROWS)


def evaluated_stream(config: TrainConfig, stream: np.ndarray, begins: np.ndarray | None) -> Windows:
    """A stream in the batches that it is evaluated in; ``begins`` as in `RunData`."""
    return covering(stream, config.batch_size, config.seq_length, begins=begins)


def _training_part(config: TrainConfig, size: int, unit: str) -> int:
    """How much of ``size`` is trained on; neither side is left without a single target."""
    least = 1 if unit == "sentences" else 2
    cut = size - math.ceil(size * config.held_out)
    if cut < least or (config.held_out and size - cut < least):
        raise ValueError(
            f"the corpus has {size} {unit}, too few to hold a part of {config.held_out} out: "
            "use a larger corpus or --held-out 0"
        )
    return cut


def _stream(sentences: text.Sentences, batch_size: int) -> SentenceStream:
    buckets = text.bucket_lengths(sentences.lengths)
    return sentence_stream(
        sentences.stream, sentences.offsets, buckets=buckets, batch_size=batch_size
    )


def targets(sentences: text.Sentences) -> np.ndarray:
    """The ids that a model is to predict in sentences."""
    return np.delete(sentences.stream, sentences.offsets[:-1])


def _unigram_loss(seen: np.ndarray, targets: np.ndarray, vocab_size: int) -> float:
    """The cross-entropy of ``targets`` under the frequencies of ``seen``, one added to each."""
    counts = _counts(seen, vocab_size) + 1
    nats = -np.log(counts / counts.sum())
    return float(nats @ _counts(targets, vocab_size) / len(targets))


def _counts(ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """How often each id occurs; block by block, because NumPy counts in a copy of 64 bits."""
    blocks = (ids[start : start + (1 << 20)] for start in range(0, len(ids), 1 << 20))
    return sum((np.bincount(block, minlength=vocab_size) for block in blocks), np.zeros(vocab_size))
