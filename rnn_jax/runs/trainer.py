"""The training steps of a run, compiled under its truncation, which may change while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import optax

from rnn_jax.host.files import Row
from rnn_jax.losses.cross_entropy import Reduction, cross_entropy
from rnn_jax.runs.adaptive import EVERY, UNKNOWN, as_kind, measured_reach
from rnn_jax.runs.config import truncated
from rnn_jax.runs.data import RunData
from rnn_jax.runs.loss_sum import end_sum, summing
from rnn_jax.training import (
    SentenceStream,
    TrainState,
    Windows,
    make_train_step,
    make_train_steps,
)
from rnn_jax.truncation import truncate
from rnn_jax.types import Model

__all__ = ["Trainer"]

Steps = Callable[..., tuple[TrainState, Any]]


class Trainer:
    """Runs steps as the result of `make_train_steps` does.

    With ``--bptt adaptive:BOUND``, ``done["reach"]`` says how far the truncation reaches: it is
    kept in checkpoints, because a run may stop between two measurements.
    """

    def __init__(self, data: RunData, optimizer: optax.GradientTransformation) -> None:
        self.data, self.optimizer = data, optimizer
        self.bound = data.config.bias_bound
        self._by_reach: dict[int, Steps] = {}
        self._ran: set[int] = set()
        self._reach = UNKNOWN
        if self.bound is None:
            self._by_reach[UNKNOWN] = self._steps(truncated(data.config, data.model))

    @property
    def compiled(self) -> bool:
        """Whether the steps that are run now were run before in this process."""
        return self._reach in self._ran

    def initial(self) -> Row:
        """What belongs in ``done`` before the first step."""
        return {} if self.bound is None else {"reach": UNKNOWN}

    def logged(self, done: Row) -> Row:
        """What belongs in a row of metrics: the truncation of the latest step, if it was chosen."""
        if self.bound is None:
            return {}
        reach = done["reach"]
        return {"bptt": None if reach == UNKNOWN else str(as_kind(reach))}

    def adapted(
        self, state: TrainState, batches: SentenceStream | Windows, batch: int, done: Row
    ) -> Row:
        """``done`` before ``batch``, with a new reach where it is time to measure."""
        if self.bound is None:
            return done
        reach = None
        if self.until_measured(state) == EVERY:
            carry = end_sum(state).carry
            model = self.data.model
            reach = measured_reach(model, state.params, carry, batches, batch, self.bound)
        self._reach = done["reach"] if reach is None else reach
        return {**done, "reach": self._reach}

    def until_measured(self, state: TrainState) -> float:
        """The steps that may be run before `adapted` is to be called again."""
        return math.inf if self.bound is None else EVERY - int(state.step) % EVERY

    def __call__(self, state: TrainState, *args: Any) -> tuple[TrainState, Any]:
        """``(state, batches, begin, end, key) -> (state, (nats, tokens))``."""
        if self._reach not in self._by_reach:
            model = truncate(self.data.model, as_kind(self._reach))
            self._by_reach[self._reach] = self._steps(model)
        result = self._by_reach[self._reach](state, *args)
        self._ran.add(self._reach)
        return result

    def _steps(self, model: Model) -> Steps:
        summed = self.data.config.in_sentences
        reduction: Reduction = "sum" if summed else "mean"
        loss = partial(cross_entropy, reduction=reduction)
        step = make_train_step(model, self.optimizer, loss=loss)
        return make_train_steps(summing(step, summed=summed))
