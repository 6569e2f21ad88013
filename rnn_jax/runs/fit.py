"""Training of a run: epochs of compiled chunks, evaluation, halving, checkpoints, interruption."""

from __future__ import annotations

import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnn_jax.host.files import Row
from rnn_jax.runs.config import make_optimizer
from rnn_jax.runs.data import RunData
from rnn_jax.runs.folder import RunFolder
from rnn_jax.runs.history import History
from rnn_jax.runs.loss_sum import begin_sum, end_sum, read_sum
from rnn_jax.runs.trainer import Trainer
from rnn_jax.training import (
    SentenceStream,
    TrainState,
    Windows,
    init_train_state,
    make_evaluate,
)
from rnn_jax.types import Array, Model, Params

__all__ = ["Listener", "evaluator", "fit"]

_CHUNK_SECONDS = 0.5  # between two looks at the clock, the progress bar and Ctrl-C


class Listener(Protocol):
    """Hears how training goes."""

    def progress(self, epoch: int, done: int, total: int, loss: float) -> None:
        """Within an epoch: batches done, their total, training loss so far."""
        ...

    def evaluated(self, row: Row) -> None:
        """A new row of metrics."""
        ...


def fit(
    folder: RunFolder,
    data: RunData,
    listener: Listener,
    *,
    resume: bool = False,
    learning_rate: float | None = None,
) -> bool:
    """Train as the configuration says; metrics, checkpoint and parameters go into the folder.

    The learning rate is halved whenever the loss evaluated after a multiple of ``evaluate_every``
    epochs is higher than the one before. Ctrl-C ends the chunk of steps at hand and saves; a
    resumed run goes on at that very step. No state is saved that is not finite or has no finite
    loss, so that the last good one stays.

    Args:
      folder: where the run is kept.
      data: what it reads.
      listener: hears how it goes.
      resume: begin from the checkpoint in the folder; from the start if the run was stopped before
        there was one.
      learning_rate: of a resumed run from here on; None keeps the one it had.

    Returns:
      Whether all epochs are done; False after Ctrl-C.

    Raises:
      ValueError: the loss is no longer finite, or there is nothing to resume.
    """
    config, model = data.config, data.model
    optimizer = make_optimizer(config)
    batch_shape = (config.batch_size,)
    state = init_train_state(
        model,
        optimizer,
        # Copies, because training gives its state's arrays away.
        jax.tree.map(jnp.copy, data.initial_parameters),
        batch_shape=batch_shape if config.stateful else None,
    )
    train = Trainer(data, optimizer)
    # Everything a resumed run must know beside the state.
    done = {"epoch": 0, "batch": 0, "nats": 0.0, "tokens": 0, "seen": 0, "loss": math.inf}
    done |= train.initial()
    history = History([])
    resume = resume and folder.trained
    if resume:
        restored = folder.load_checkpoint({"state": state, "done": done})
        state = restored["state"]
        done = {name: value.item() for name, value in restored["done"].items()}
        history = folder.history().until(int(state.step))
        if not history.rows:
            warnings.warn(
                f"{folder.path}/metrics.jsonl has no row of before: a new history begins",
                stacklevel=2,
            )
        if learning_rate is not None:
            state = _with_rate(state, learning_rate)
            folder.save_checkpoint({"state": state, "done": done})
    run = _Run(folder, data, listener, history, train)
    with _interrupts() as interrupted:
        if not resume:
            state, done = run.evaluate(state, done, None, 0.0)
            run.save(state, done)  # from here on there is something to go on from
        while done["epoch"] < config.epochs and not interrupted():
            if not done["batch"] and config.stateful:
                state = state._replace(carry=model.initial_carry(batch_shape, state.params))
            state, done = run.epoch(state, done, interrupted)
            run.save(state, done)
    return bool(done["epoch"] >= config.epochs)


def evaluator(model: Model) -> Callable[[Params, RunData], tuple[float, int]]:
    """The mean loss in nats on a run's evaluation text, and its number of tokens."""
    totals = make_evaluate(model)

    def loss(params: Params, data: RunData) -> tuple[float, int]:
        batches, carry = data.evaluation, None
        if data.config.stateful:
            carry = model.initial_carry((batches.batch_size,), params)
        nats, tokens = totals(params, batches, carry)
        return float(nats) / int(tokens), int(tokens)

    return loss


class _Run:
    """The compiled functions of a run, and what they write."""

    def __init__(
        self,
        folder: RunFolder,
        data: RunData,
        listener: Listener,
        history: History,
        train: Trainer,
    ) -> None:
        self.folder, self.data, self.listener, self.history = folder, data, listener, history
        self.news: list[Row] = []  # what the listener has still to hear
        self.train = train
        self.loss = evaluator(data.model)
        self.lowest = self._lowest()
        self.is_best = False  # whether the latest evaluation has the lowest loss so far
        self.key = jax.random.fold_in(jax.random.key(data.config.seed), 1)

    def _lowest(self) -> float:
        """The loss of the best parameters that are kept; infinite where there are none.

        Not what the history says: a row of it may be lost, and a worse loss must not take their
        place.
        """
        try:
            params = self.folder.load_parameters(best=True)
        except ValueError as error:
            if self.history.rows:
                warnings.warn(f"{error}; they are kept from here on", stacklevel=2)
            return math.inf
        return self.loss(params, self.data)[0]

    def epoch(
        self, state: TrainState, done: Row, interrupted: Callable[[], bool]
    ) -> tuple[TrainState, Row]:
        """One epoch from batch ``done["batch"]`` on, or as much of it as Ctrl-C leaves."""
        batches, count = self.data.epoch(done["epoch"])
        batch, tokens = done["batch"], done["tokens"]
        chunk, timed_tokens, timed_seconds = 4, 0.0, 0.0
        state, nats = begin_sum(state, done["nats"]), done["nats"]
        while batch < count and not interrupted():
            done = self.train.adapted(state, batches, batch, done)
            end = min(batch + chunk, count)
            end = int(min(end, batch + self.train.until_measured(state)))
            compiled, began = self.train.compiled, time.perf_counter()
            state, (_, seen) = self.train(state, batches, batch, end, self.key)
            nats, new_tokens = read_sum(state), int(seen)
            seconds = time.perf_counter() - began
            if not math.isfinite(nats):
                raise self.diverged(state)
            if compiled:  # the first chunk of a process also compiles
                timed_tokens, timed_seconds = timed_tokens + new_tokens, timed_seconds + seconds
            # Per-batch time from the latest chunk; the first one compiled and says nothing.
            pace = _CHUNK_SECONDS * (end - batch) / seconds
            chunk = 8 if chunk == 4 else int(np.clip(pace, 8, 8 * chunk))
            batch, tokens = end, tokens + new_tokens
            self.listener.progress(done["epoch"] + 1, batch, count, nats / max(tokens, 1))
        done = {**done, "batch": batch, "nats": nats, "tokens": tokens}
        whole = batch >= count
        epoch = done["epoch"] + whole
        every, last = self.data.config.evaluate_every, self.data.config.epochs
        evaluated = whole and (epoch % every == 0 or epoch >= last)
        if not evaluated and not self.good(state, batches, 0 if whole else batch):
            raise self.diverged(state)
        state = end_sum(state)
        if not whole:
            return state, done
        done = {**done, "epoch": epoch, "batch": 0, "nats": 0.0, "tokens": 0}
        done["seen"] += int(tokens)
        if not evaluated:
            return state, done
        rate = timed_tokens / timed_seconds if timed_seconds else 0.0
        return self.evaluate(state, done, nats / max(tokens, 1), rate)

    def good(self, state: TrainState, batches: SentenceStream | Windows, index: int) -> bool:
        """Whether a state is finite, and its loss on one batch: it may be saved."""
        if not _all_finite(state):
            return False
        # A step from a copy, which is compiled already and tells the loss before it.
        tried = begin_sum(jax.tree.map(jnp.copy, end_sum(state)), 0.0)
        tried, _ = self.train(tried, batches, index, index + 1, self.key)
        return math.isfinite(read_sum(tried))

    def diverged(self, state: TrainState) -> ValueError:
        """The sentence for a loss that is no longer finite."""
        clip = "--clip" if self.data.config.clip else "clip the gradient with --clip 1"
        kept = self.folder.steps
        return ValueError(
            f"the loss is no longer finite at step {int(state.step)}: lower --lr or {clip}"
            + (f"; {self.folder.path} keeps the state after step {kept}" if kept else "")
        )

    def evaluate(
        self, state: TrainState, done: Row, train_loss: float | None, rate: float
    ) -> tuple[TrainState, Row]:
        """A row of metrics; the learning rate halved if the loss has risen."""
        loss, _ = self.loss(state.params, self.data)
        if not math.isfinite(loss) or not _all_finite(state):
            raise self.diverged(state)
        current = float(_rate(state))
        row = {
            "epoch": done["epoch"],
            "step": int(state.step),
            "tokens": done["seen"],
            "train_loss": train_loss,
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "tokens_per_second": round(rate),
            "learning_rate": current,
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            **self.train.logged(done),
        }
        self.is_best = loss < self.lowest
        self.lowest = min(loss, self.lowest)
        self.history.lines.append(row)
        self.folder.write_history(self.history)
        self.news.append(row)
        # The last epoch may stand where a longer run does not evaluate: it must not steer the rate.
        if done["epoch"] % self.data.config.evaluate_every:
            return state, done
        if loss > done["loss"]:
            state = _with_rate(state, _rate(state) * 0.5)
        return state, {**done, "loss": loss}

    def save(self, state: TrainState, done: Row) -> None:
        """The checkpoint to resume from and the parameters to use."""
        if self.is_best:
            # First: a run that is killed before the checkpoint evaluates the same ones again.
            self.folder.save_parameters(state.params, best=True)
            self.is_best = False
        self.folder.save_checkpoint({"state": state, "done": done})
        self.folder.save_parameters(state.params)
        # Only now, when nothing is lost should the listener fail.
        while self.news:
            self.listener.evaluated(self.news.pop(0))


def _rate(state: TrainState) -> Array:
    rate: Array = optax.tree_utils.tree_get(state.opt_state, "learning_rate")
    return rate


def _with_rate(state: TrainState, rate: Array | float) -> TrainState:
    rate = jnp.asarray(rate, _rate(state).dtype)
    changed = optax.tree_utils.tree_set(state.opt_state, learning_rate=rate)
    return state._replace(opt_state=changed)


@jax.jit
def _all_finite(tree: Any) -> Array:
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in floats]))


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C was pressed; pressed twice, it interrupts as usual."""
    pressed = threading.Event()

    def handle(signum: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
