"""What a training is to do, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rnn_jax.host.files import Row
from rnn_jax.training.batches import Batches
from rnn_jax.training.blocks import Block
from rnn_jax.training.fed import Fed
from rnn_jax.training.feeding import Piece
from rnn_jax.training.processes import Processes
from rnn_jax.training.progress import Listener
from rnn_jax.training.rules import Rule
from rnn_jax.training.step import TrainState
from rnn_jax.training.store import Store
from rnn_jax.truncation import Truncation
from rnn_jax.types import Array, Carry, Params

__all__ = ["Adapts", "Plan", "Position"]


class Adapts(Protocol):
    """Chooses a truncation while a model trains, again every so many steps."""

    @property
    def every(self) -> int:
        """From how many steps to how many."""
        ...

    def __call__(self, state: TrainState, batches: Batches, index: int) -> Truncation | None:
        """The truncation from batch ``index`` on; None where the batch tells nothing."""
        ...


@dataclass(frozen=True, eq=False)
class Plan:
    """What is trained, on what, for how long, and who hears of it; see `fit`.

    piece: batches around one of so many real ones of ``epoch``, where steps read them.
    block: by the truncation that `adapt` has chosen, None without.
    evaluate: the mean loss of parameters on the validation data; None without such.
    initial_carry: of an epoch's first batch; None where every batch begins anew.
    perplexed, trains_perplexity: whether the evaluated loss, and that of training, is a plain
      cross-entropy, whose exponential is a perplexity.
    began_with: what a training that goes on from here must begin with, too.
    processes: those that do all this together.
    """

    epoch: Callable[[int], tuple[Batches | Fed, int]]
    piece: Callable[[Batches | Fed, int, int], Piece]
    block: Callable[[Truncation | None], Block]
    evaluate: Callable[[Params], float] | None
    initial_carry: Callable[[Params], Carry] | None
    key: Array | None
    epochs: int | None
    steps: int | None
    seconds: float | None
    evaluate_every: int
    evaluate_every_steps: int | None
    rules: Sequence[Rule]
    patience: int | None
    limit: int
    listeners: Sequence[Listener]
    store: Store | None
    save_every: float
    stop: Callable[[], bool]
    adapt: Adapts | None
    perplexed: bool
    trains_perplexity: bool
    began_with: Row
    processes: Processes


@dataclass
class Position:
    """All that a training must know beside its state; kept beside it in checkpoints.

    epoch, batch: passes done, and batches of the next one.
    nats, tokens: since the latest evaluation; ``seen`` since the start.
    seconds: in blocks of steps, but for those that compile; counted where they are bounded.
    losses: of all regular evaluations.
    best: the lowest loss of any evaluation.
    rate_given: the learning rate that was last set from outside.
    by_row: whether noise is drawn row by row, as where a training is begun on a mesh.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    nats: float = 0.0
    tokens: int = 0
    seen: int = 0
    in_a_row: int = 0
    skipped: int = 0
    skipped_before: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    best: float = math.inf
    truncation: str | None = None
    rate_given: float | None = None
    by_row: bool = False
