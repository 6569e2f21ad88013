"""The configuration of a training run, and the model and optimiser it names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import optax

from rnn_jax.cells import elman, gru, lstm
from rnn_jax.diagnostics.adaptive import check_bound
from rnn_jax.host.options import Options, option
from rnn_jax.layers import dropout, recurrent, serial
from rnn_jax.models import language_model
from rnn_jax.text import LANGUAGES
from rnn_jax.training import sgd
from rnn_jax.truncation import parse_truncation, truncate
from rnn_jax.types import Cell, Layer, Model

__all__ = ["CELLS", "TrainConfig", "make_model", "make_optimizer", "truncated"]

CELLS: dict[str, Callable[[int, bool], Cell]] = {
    "tanh": lambda size, bias: elman(size, bias=bias),
    "relu": lambda size, bias: elman(size, activation=jax.nn.relu, bias=bias),
    "gru": lambda size, bias: gru(size, bias=bias),
    "gru-before": lambda size, bias: gru(size, reset="before", bias=bias),
    "lstm": lambda size, bias: lstm(size, forget_bias=1.0, bias=bias),
    "sigmoid": lambda size, bias: elman(size, activation=jax.nn.sigmoid, bias=bias),
}

# Default learning rates; sgd's depends on how the loss is reduced.
_RATES = {"adam": 0.002, "adamw": 0.002, "rmsprop": 0.002, "adagrad": 0.05}
_SENTENCE_RATE, _WINDOW_RATE = 0.005, 0.5


@dataclass(frozen=True)
class TrainConfig(Options):
    """Every setting of ``rnn-jax train``, under the names of its flags.

    Raises:
      ValueError: a setting out of its range, named as the flag it is.

    Example:
      >>> TrainConfig(hidden_size=-1)
      Traceback (most recent call last):
      ValueError: --hidden-size must be at least 1, not -1
    """

    corpus: str = option(
        "python-docs",
        "Name of a corpus (python-docs, comments-sample, time-machine, tiny-shakespeare, "
        "war-and-peace) or path of a .txt or .csv file.",
    )
    column: str = option("body", "Column of a .csv file that holds the text.")
    max_sentences: int | None = option(
        None, "Use only the first so many sentences (the vocabulary is that of all)."
    )
    max_tokens: int | None = option(
        None, "Use only the first so many tokens of a stream (the vocabulary is that of all)."
    )
    level: Literal["word", "char"] = option("word", "Unit of the text.")
    letters_only: bool = option(False, "Lower-case, every run of non-letters one space.")
    glue_lines: bool = option(
        False,
        "With --letters-only and --level char: nothing between lines, as D2L's figures need it.",
    )
    max_length: int | None = option(
        None, "Longest sentence in tokens; longer ones are left out, and counted."
    )
    language: str = option("english", f"Language of the sentence splitter: {', '.join(LANGUAGES)}.")
    vocab_size: int | None = option(
        None, "Tokens in the vocabulary; default: min(8000, distinct tokens)."
    )
    held_out: float = option(0.1, "Last part of the text to evaluate on; 0: on the training text.")
    cell: str = option("gru", f"Recurrent cell: {', '.join(CELLS)}.")
    hidden_size: int = option(256, "Hidden units of a layer.")
    num_layers: int = option(1, "Recurrent layers.")
    embedding_size: int = option(128, "Features of a token's embedding; 0: one-hot vectors.")
    bias: bool = option(True, "Biases in the cells and the read-out.")
    dropout: float = option(0.0, "Dropout rate before, between and after the layers.")
    bptt: str = option(
        "full",
        "Truncation: full, chunked:35, sliding:4, tail:4 or randomized:0.9; adaptive:0.1 is "
        "sliding, with as many steps as keep the measured relative bias within 0.1.",
    )
    batching: Literal["sentences", "sequential", "random"] = option(
        "sequential",
        "One sentence after the other (loss summed), or windows of --seq-length tokens (loss "
        "averaged) that continue each other or come in random order.",
    )
    batch_size: int = option(32, "Sentences or windows a step.")
    seq_length: int = option(35, "Tokens of a window.")
    reset_at_documents: bool = option(
        False,
        "Start anew from the initial state wherever a text of the corpus begins, such as a row of "
        "a .csv file.",
    )
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad"] = option("adam", "Optimiser.")
    lr: float | None = option(
        None,
        f"Learning rate, halved when the evaluated loss rises; default: {_RATES['adam']} for adam, "
        f"adamw and rmsprop, {_RATES['adagrad']} for adagrad, for sgd {_SENTENCE_RATE} with "
        f"sentences and {_WINDOW_RATE} with windows.",
    )
    clip: float = option(1.0, "Largest global norm of the gradient; 0: no clipping.")
    epochs: int = option(4, "Passes over the training text.")
    evaluate_every: int = option(
        1, "Epochs between evaluations, of which the best one's parameters are kept."
    )
    seed: int = option(0, "Seed of the parameters, the batches, the noise and the samples.")

    def __post_init__(self) -> None:
        self.check_literals()
        self.at_least(1, "hidden_size", "num_layers", "batch_size", "seq_length", "evaluate_every")
        self.at_least(0, "embedding_size", "epochs")
        self.require("num_layers", self.num_layers <= 1000, "at most 1000")
        for name in ("hidden_size", "embedding_size", "batch_size", "seq_length"):
            self.require(name, getattr(self, name) < 2**31, "below 2**31")
        self.at_least(1, "max_sentences", "max_length")
        self.at_least(2, "max_tokens", "vocab_size")
        if self.in_sentences and self.max_tokens is not None:
            raise ValueError("--max-tokens cuts a stream: with sentences, use --max-sentences")
        if not self.from_sentences and self.max_sentences is not None:
            raise ValueError(
                "--max-sentences counts sentences, and this text is a stream of "
                f"{'characters' if self.level == 'char' else 'words'}: use --max-tokens"
            )
        if not self.from_sentences and self.max_length is not None:
            raise ValueError(
                f"--max-length {self.max_length} limits sentences, and this text is a stream that "
                "is not split into sentences: leave it out, or use --max-tokens"
            )
        self.seeded()
        self.fraction("held_out", "dropout")
        self.require("clip", 0 <= self.clip < math.inf, "finite and at least 0")
        self.above_zero("lr")
        self.one_of("cell", CELLS)
        self.one_of("language", LANGUAGES)
        if not self.from_sentences and self.language != "english":
            raise ValueError(
                f"--language {self.language} is that of the sentence splitter, and this text is a "
                "stream that is not split into sentences: leave it out"
            )
        if self.in_sentences and self.reset_at_documents:
            raise ValueError(
                "--reset-at-documents is for streams, and with --batching sentences every sentence "
                "starts anew already: leave it out, or use --batching sequential or random"
            )
        try:
            if self.bias_bound is None:
                parse_truncation(self.bptt)
        except ValueError as error:
            hint = "" if self.bptt.startswith("adaptive") else "; or adaptive:0.1, by measured bias"
            raise ValueError(f"--bptt {error}{hint}") from None
        if self.bias_bound is not None and self.reset_at_documents:
            raise ValueError(
                "--bptt adaptive measures how far gradients reach in a stream that is never reset: "
                "with --reset-at-documents give a number of steps, such as sliding:8"
            )

    @property
    def learning_rate(self) -> float:
        """``lr``, or the optimiser's default."""
        sgd_rate = _SENTENCE_RATE if self.in_sentences else _WINDOW_RATE
        return _RATES.get(self.optimizer, sgd_rate) if self.lr is None else self.lr

    @property
    def bias_bound(self) -> float | None:
        """The bound of ``--bptt adaptive:BOUND``; None for a truncation that is fixed."""
        name, _, number = self.bptt.strip().partition(":")
        if name != "adaptive":
            return None
        try:
            bound = float(number)
        except ValueError:
            raise ValueError(
                f"{self.bptt!r} is not a truncation: write adaptive:0.1, with the relative bias to "
                "keep to"
            ) from None
        check_bound(bound)
        return bound

    @property
    def in_sentences(self) -> bool:
        """Whether a step sees whole sentences, and not windows of a stream."""
        return self.batching == "sentences"

    @property
    def from_sentences(self) -> bool:
        """Whether the text is split into sentences with markers, and not a stream of lines."""
        return self.in_sentences or (self.level == "word" and not self.letters_only)

    @property
    def stateful(self) -> bool:
        """Whether a batch continues the one before it."""
        return self.batching == "sequential"


def make_model(config: TrainConfig, vocab_size: int) -> Model:
    """The language model of a configuration, not truncated."""
    layers: list[Layer] = []
    for _ in range(config.num_layers):
        noisy = config.dropout and (layers or config.embedding_size)
        layers += [dropout(config.dropout)] if noisy else []
        layers.append(recurrent(CELLS[config.cell](config.hidden_size, config.bias)))
    layers += [dropout(config.dropout)] if config.dropout else []
    layer = layers[0] if len(layers) == 1 else serial(*layers)
    embedding_size = config.embedding_size or None
    return language_model(vocab_size, layer, embedding_size=embedding_size, bias=config.bias)


def truncated(config: TrainConfig, model: Model) -> Model:
    """The model with its gradients truncated as ``bptt`` says: the one to train."""
    if config.bias_bound is not None:
        raise ValueError(
            f"--bptt {config.bptt} chooses its truncation while a run trains: name one, such as "
            "sliding:4"
        )
    return truncate(model, parse_truncation(config.bptt))


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """The optimiser of a configuration; its state holds the learning rate."""
    if config.optimizer == "sgd" and not config.clip:
        return sgd(config.learning_rate)

    def chain(learning_rate: Any) -> optax.GradientTransformation:
        clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
        return optax.chain(clip, getattr(optax, config.optimizer)(learning_rate))

    return optax.inject_hyperparams(chain)(learning_rate=config.learning_rate)
