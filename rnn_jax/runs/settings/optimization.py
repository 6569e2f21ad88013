"""How parameters are changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from rnn_jax.host.options import Options, flag, option

__all__ = ["OptimizationSettings"]

# Default learning rates; sgd's depends on how the loss is reduced.
RATES = {"adam": 0.002, "adamw": 0.002, "rmsprop": 0.002, "adagrad": 0.05}
SENTENCE_RATE, WINDOW_RATE = 0.005, 0.5

# Which schedules and optimisers read a setting.
_SCHEDULES = {
    "warmup": ("constant", "step", "exponential", "cosine"),
    "decay_every": ("step", "exponential"),
    "decay_factor": ("step", "exponential", "plateau"),
    "min_lr": ("step", "exponential", "cosine", "plateau"),
    "plateau_patience": ("plateau",),
}
_OPTIMIZERS = {
    "momentum": ("sgd", "rmsprop"),
    "weight_decay": ("sgd", "adamw", "rmsprop", "adagrad"),
}


@dataclass(frozen=True)
class OptimizationSettings(Options):
    """The optimiser, its learning rate over time, the loss and the averaging of parameters."""

    section: ClassVar[str] = "Optimisation"

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad"] = option("adam", "Optimiser.")
    lr: float | None = option(
        None,
        f"Learning rate before it decays; default: {RATES['adam']} for adam, adamw and rmsprop, "
        f"{RATES['adagrad']} for adagrad, for sgd {SENTENCE_RATE} with sentences and "
        f"{WINDOW_RATE} with windows.",
    )
    schedule: Literal["constant", "halve", "step", "exponential", "cosine", "plateau"] = option(
        "halve",
        "Learning rate over time: halved when the evaluated loss rises; times --decay-factor every "
        "--decay-every epochs, at once or steadily; a cosine down to --min-lr at the end of "
        "training; or times --decay-factor when evaluations stay without a new lowest loss.",
    )
    warmup: float = option(0.0, "Epochs in which the learning rate rises from 0, such as 0.5.")
    decay_every: float = option(1.0, "Epochs between two decays.")
    decay_factor: float = option(0.5, "What is left of the learning rate after a decay.")
    min_lr: float = option(0.0, "Learning rate below which it does not decay.")
    plateau_patience: int = option(
        2, "Evaluations in a row without a lower loss after which --schedule plateau decays."
    )
    momentum: float = option(0.0, "Momentum of sgd and rmsprop.")
    weight_decay: float | None = option(
        None,
        "Weight decay: adamw's own, default 0.0001; for sgd, rmsprop and adagrad added to the "
        "gradient, default 0.",
    )
    clip: float = option(1.0, "Largest global norm of the gradient; 0: no clipping.")
    lazy: bool = option(
        False,
        "Leave alone, with its moments, what belongs to words that a batch does not use: for large "
        "vocabularies, without --accumulate and --average; not the same training, but by sgd.",
    )
    accumulate: int = option(1, "Steps whose gradients are put together to one update.")
    average: str = option(
        "none",
        "Evaluate and keep averaged parameters: ema:0.999, an exponential average, or asgd:5, the "
        "mean since an evaluation brought no new lowest loss, the latest 5 left out.",
    )
    label_smoothing: float = option(
        0.0, "Part of a target's probability that is spread over the vocabulary while training."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.above_zero("lr", "decay_every")
        self.not_negative("clip", "warmup", "min_lr", "weight_decay")
        self.fraction("momentum", "label_smoothing")
        self.at_least(1, "plateau_patience", "accumulate")
        self.require("decay_factor", 0 < self.decay_factor < 1, "between 0 and 1")
        self._check_readers("schedule", _SCHEDULES)
        self._check_readers("optimizer", _OPTIMIZERS)
        kind, _ = self.averaging
        if self.lazy and (self.accumulate > 1 or kind != "none"):
            raise ValueError(
                "--lazy goes by the words of one batch, and --accumulate and --average by more: "
                "leave out one of them"
            )

    @property
    def scheduled(self) -> bool:
        """Whether the learning rate is a function of the step, and not only of evaluations."""
        return bool(self.warmup) or self.schedule in ("step", "exponential", "cosine")

    @property
    def averaging(self) -> tuple[Literal["none", "ema", "asgd"], float]:
        """The kind of ``average`` and its number."""
        name, _, number = self.average.strip().partition(":")
        try:
            value = float(number) if number else math.nan
        except ValueError:
            value = math.nan
        if name == "none" and not number:
            return "none", 0.0
        if name == "ema" and 0 <= value < 1:
            return "ema", value
        if name == "asgd" and value >= 0 and value == int(value):
            return "asgd", value
        raise ValueError(
            f"--average {self.average!r} is none: write none, ema:0.999 with a factor below 1, or "
            "asgd:5 with the number of evaluations to wait for"
        )

    def _check_readers(self, chooser: str, readers: dict[str, tuple[str, ...]]) -> None:
        """Raise ValueError for a setting that the chosen schedule or optimiser does not read."""
        chosen = getattr(self, chooser)
        for name, known in readers.items():
            value, default = getattr(self, name), type(self).__dataclass_fields__[name].default
            if value != default and chosen not in known:
                others = ", ".join(known)
                remedy = (
                    f"use {flag(chooser)} {others}" if len(known) == 1 else f"use one of {others}"
                )
                if name == "weight_decay" and chosen == "adam":
                    remedy = "use --optimizer adamw"
                raise ValueError(
                    f"{flag(name)} is not for {flag(chooser)} {chosen}: leave it out, or {remedy}"
                )
