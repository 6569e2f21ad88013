"""What training tells while it goes on, and who hears it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rnn_jax.host.files import Row
from rnn_jax.types import Params

__all__ = ["Listener", "Progress", "Tell", "as_listener", "perplexity_of"]

Tell = Callable[[Row, Params], object]


@dataclass(frozen=True)
class Progress:
    """How far a training is, about once a second.

    epoch: the pass over the data that is going on, from 1.
    epochs, steps: how many are wanted; None where something else decides.
    step: steps done since the start.
    batch, batches: done in this epoch, and all of it.
    loss: mean loss of training since the evaluation before; None before the first finite one.
    perplexity: its exponential; None where it is no plain cross-entropy.
    tokens_per_second: of the latest steps.
    seconds_left: until training ends, at that pace; None while the pace is not known.
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
    perplexity: float | None
    tokens_per_second: float
    seconds_left: float | None
    learning_rate: float | None
    skipped: int


def perplexity_of(loss: float) -> float:
    """``exp(loss)``, finite.

    Example:
      >>> perplexity_of(0.0), perplexity_of(1e9) < float("inf")
      (1.0, True)
    """
    return math.exp(min(loss, 700.0))


class Listener(Protocol):
    """Hears how training goes; a class derived from it writes what it wants to hear of."""

    def progress(self, progress: Progress) -> None:
        """About once a second."""
        return  # a body, so that it need not be overridden

    def evaluated(self, row: Row, params: Params) -> None:
        """A new row of metrics, and the parameters that were evaluated.

        They are those of the training, whose next step takes their memory: copy what is to be kept.
        """
        return


@dataclass(frozen=True)
class _Told(Listener):
    tell: Tell

    def evaluated(self, row: Row, params: Params) -> None:
        self.tell(row, params)


def as_listener(listener: Listener | Tell) -> Listener:
    """A listener as it is; a function as one that is called after each evaluation.

    Raises:
      ValueError: it is neither.
    """
    if callable(getattr(listener, "evaluated", None)):
        return listener  # type: ignore[return-value]
    if callable(listener):
        return _Told(listener)
    raise ValueError(
        "a listener is a Listener, or a function of a row of metrics and the parameters, not "
        f"{listener!r}"
    )
