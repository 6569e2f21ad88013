"""What training tells while it goes on, and who hears it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rnn_jax.host.files import Row

__all__ = ["Listener", "Progress"]


@dataclass(frozen=True)
class Progress:
    """How far a training is, about once a second.

    epoch: the pass over the data that is going on, from 1.
    epochs, steps: how many are wanted; None where the other one decides.
    step: steps done since the start.
    batch, batches: done in this epoch, and all of it.
    loss: mean loss of training since the evaluation before; None before the first finite one.
    tokens_per_second: of the latest steps.
    seconds_left: until all steps are done, at that pace; None while the pace is not known.
    learning_rate: None where the optimiser's state does not hold it.
    skipped: steps whose loss or gradient was not finite, since the start.
    """

    epoch: int
    epochs: int | None
    step: int
    steps: int | None
    batch: int
    batches: int
    loss: float | None
    tokens_per_second: float
    seconds_left: float | None
    learning_rate: float | None
    skipped: int


class Listener(Protocol):
    """Hears how training goes."""

    def progress(self, progress: Progress) -> None:
        """About once a second."""
        ...

    def evaluated(self, row: Row) -> None:
        """A new row of metrics."""
        ...
