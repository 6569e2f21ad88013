"""How long a run trains, when it looks at itself, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rnn_jax.host.options import Options, option

__all__ = ["CourseSettings"]

_EPOCHS, _EVALUATE_EVERY = 4, 1


@dataclass(frozen=True)
class CourseSettings(Options):
    """Length, evaluations and checkpoints of a run.

    Of ``epochs`` and ``steps`` one is None, and so is one of ``evaluate_every`` and
    ``evaluate_every_steps``.
    """

    section: ClassVar[str] = "Length, evaluation and checkpoints"
    alternatives: ClassVar[tuple[tuple[str, str], ...]] = (
        ("epochs", "steps"),
        ("evaluate_every", "evaluate_every_steps"),
    )

    epochs: int | None = option(
        None, f"Passes over the training text; default: {_EPOCHS}, unless --steps is given."
    )
    steps: int | None = option(None, "Steps to train, in place of --epochs.")
    evaluate_every: int | None = option(
        None,
        "Epochs between evaluations, of which the best one's parameters are kept; default: "
        f"{_EVALUATE_EVERY}, unless --evaluate-every-steps is given.",
    )
    evaluate_every_steps: int | None = option(
        None, "Steps between evaluations, in place of --evaluate-every."
    )
    early_stop: int | None = option(
        None, "Stop after so many evaluations in a row without a new lowest loss."
    )
    save_every: float = option(
        120.0,
        "Seconds between checkpoints within an epoch; more where saving would take over a "
        "hundredth of the time.",
    )
    init_from: str | None = option(
        None,
        "Folder of a run to begin with: its best parameters, its vocabulary, and all of its "
        "settings that are not given.",
    )
    keep: int = option(2, "Checkpoints to keep, the newest ones.")
    seed: int = option(0, "Seed of the parameters, the batches, the noise and the samples.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for pair, default in zip(
            CourseSettings.alternatives, (_EPOCHS, _EVALUATE_EVERY), strict=True
        ):
            if all(getattr(self, name) is None for name in pair):
                object.__setattr__(self, pair[0], default)
        self.at_least(0, "epochs", "steps")
        self.at_least(1, "evaluate_every", "evaluate_every_steps", "early_stop", "keep")
        self.above_zero("save_every")
        self.seeded()
