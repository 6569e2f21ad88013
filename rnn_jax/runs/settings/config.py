"""The configuration of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rnn_jax.host.options import flag
from rnn_jax.runs.settings.batches import BatchSettings
from rnn_jax.runs.settings.course import CourseSettings
from rnn_jax.runs.settings.model import ModelSettings
from rnn_jax.runs.settings.optimization import (
    RATES,
    SENTENCE_RATE,
    WINDOW_RATE,
    OptimizationSettings,
)
from rnn_jax.runs.settings.text import TextSettings
from rnn_jax.runs.softmax import parse_softmax
from rnn_jax.text import Tokenizing

__all__ = ["BEFORE", "TrainConfig"]

# What settings that did not exist yet stood for in the folders of older versions.
BEFORE: dict[str, Any] = {
    "valid": None,
    "test": None,
    "glue_lines": True,
    "max_length": None,
    "language": "english",
    "reset_at_documents": False,
    "proj_size": None,
    "layer_norm": False,
    "learned_carry": False,
    "residual": False,
    "tied": False,
    "softmax": "full",
    "variational_dropout": False,
    "weight_drop": 0.0,
    "zoneout": 0.0,
    "zoneout_cell": None,
    "remat": False,
    "schedule": "halve",
    "warmup": 0.0,
    "decay_every": 1.0,
    "decay_factor": 0.5,
    "min_lr": 0.0,
    "plateau_patience": 2,
    "momentum": 0.0,
    "weight_decay": None,
    "accumulate": 1,
    "average": "none",
    "lazy": False,
    "label_smoothing": 0.0,
    "activation_penalty": 0.0,
    "temporal_penalty": 0.0,
    "dtype": "float32",
    "steps": None,
    "evaluate_every_steps": None,
    "early_stop": None,
    "save_every": 120.0,
    "init_from": None,
    "keep": 2,
}


# The first base's fields come last.
@dataclass(frozen=True)
class TrainConfig(CourseSettings, OptimizationSettings, BatchSettings, ModelSettings, TextSettings):
    """Every setting of ``rnn-jax train``, under the names of its flags.

    Raises:
      ValueError: a setting out of its range, named as the flag it is, or settings that do not fit
        together.

    Example:
      >>> TrainConfig(hidden_size=-1)
      Traceback (most recent call last):
      ValueError: --hidden-size must be at least 1, not -1
      >>> config = TrainConfig(epochs=2).changed(steps=500)
      >>> config.epochs, config.steps
      (None, 500)
    """

    alternatives: ClassVar[tuple[tuple[str, str], ...]] = (
        *CourseSettings.alternatives,
        *TextSettings.alternatives,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.in_sentences and self.level not in ("word", "char"):
            raise ValueError(
                "--batching sentences puts markers around sentences, which are not among the "
                f"tokens of --level {self.level}: use --batching sequential or random"
            )
        if self.in_sentences and self.max_tokens is not None:
            raise ValueError("--max-tokens cuts a stream: with sentences, use --max-sentences")
        if self.glue_lines and not (self.letters_only and self.level == "char"):
            raise ValueError("--glue-lines is for --letters-only and --level char: leave it out")
        if not self.from_sentences:
            self._check_stream()
        _ = self.tokenizing
        if self.learned_carry and self.stateful and not self.reset_at_documents:
            raise ValueError(
                "--learned-carry learns the state that a sequence starts from, and with --batching "
                "sequential every window goes on from the one before: use --batching random or "
                "sentences, or --reset-at-documents"
            )
        for name in ("activation_penalty", "temporal_penalty"):
            self._check_penalty(name)
        if self.label_smoothing and parse_softmax(self.softmax)[0] != "full":
            raise ValueError(
                f"--label-smoothing gives every word a share, and --softmax {self.softmax} does "
                "not compute them all while training: leave out one of them"
            )
        if self.min_lr > self.learning_rate:
            raise ValueError(
                f"--min-lr {self.min_lr:g} is above the learning rate, {self.learning_rate:g}: "
                "lower it, or raise --lr"
            )
        if self.lazy and self.tied:
            raise ValueError(
                "--lazy has nothing to leave alone with --tied, whose embedding every softmax "
                "reads: leave out one of them"
            )
        if self.cell == "echo-state" and (self.weight_decay or self.optimizer == "adamw"):
            raise ValueError(
                "--weight-decay would wear the fixed weights of --cell echo-state away: use "
                "--optimizer adam without it"
            )

    def _check_penalty(self, name: str) -> None:
        """Raise ValueError for a penalty without a mean over a whole window beside it."""
        if getattr(self, name) and self.in_sentences:
            raise ValueError(
                f"{flag(name)} is weighed against a loss that is averaged, and that of --batching "
                "sentences is summed: use --batching sequential or random"
            )
        if getattr(self, name) and self.bptt.strip().startswith(("sliding", "adaptive")):
            raise ValueError(
                f"{flag(name)} is of all steps of a window, which --bptt {self.bptt} takes apart: "
                "use full, chunked, tail or randomized"
            )

    def _check_stream(self) -> None:
        """Raise ValueError for settings of sentences."""
        if self.max_sentences is not None:
            raise ValueError(
                "--max-sentences counts sentences, and this text is a stream of "
                f"{self.unit}s: use --max-tokens"
            )
        if self.max_length is not None:
            raise ValueError(
                f"--max-length {self.max_length} limits sentences, and this text is a stream that "
                "is not split into sentences: leave it out, or use --max-tokens"
            )
        if self.language != "english":
            raise ValueError(
                f"--language {self.language} is that of the sentence splitter, and this text is a "
                "stream that is not split into sentences: leave it out"
            )

    @classmethod
    def completed(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """The settings of a saved configuration, with those that its version did not have yet."""
        settings = {**BEFORE, **saved}
        # Where it meant nothing, older versions had it all the same.
        glued = settings.get("letters_only") is True and settings.get("level") == "char"
        return {**settings, "glue_lines": settings["glue_lines"] and glued}

    @property
    def learning_rate(self) -> float:
        """``lr``, or the optimiser's default."""
        sgd_rate = SENTENCE_RATE if self.in_sentences else WINDOW_RATE
        return RATES.get(self.optimizer, sgd_rate) if self.lr is None else self.lr

    @property
    def from_sentences(self) -> bool:
        """Whether the text is split into sentences with markers, and not a stream of lines."""
        return self.in_sentences or (self.level == "word" and not self.letters_only)

    @property
    def tokenizing(self) -> Tokenizing:
        """How the text becomes tokens.

        All of it does where its vocabulary is that of all of it, whatever is used.
        """
        of_all = self.level in ("word", "char")
        return Tokenizing(
            level=self.level,
            sentences=self.from_sentences,
            letters_only=self.letters_only,
            glue_lines=self.glue_lines and not self.from_sentences,
            language=self.language,
            vocab_size=self.vocab_size,
            max_tokens=None if of_all else self.max_tokens,
        )
