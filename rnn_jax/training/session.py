"""The loop of `fit`: blocks of steps, evaluations, what is kept, and when it ends."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnn_jax.arrays.checks import all_finite
from rnn_jax.host.files import Row
from rnn_jax.training.averaging import averaged
from rnn_jax.training.blocks import Running, running
from rnn_jax.training.history import History
from rnn_jax.training.plan import Plan, Position
from rnn_jax.training.processes import here
from rnn_jax.training.progress import Progress, perplexity_of
from rnn_jax.training.rules import learning_rate
from rnn_jax.training.step import TrainState
from rnn_jax.training.store import Saved, from_host, on_host
from rnn_jax.truncation import parse_truncation
from rnn_jax.types import Params

__all__ = ["train"]

SECONDS = 1.0  # between two looks at the clock, the listeners and the signals
_SHARE = 0.01  # of the time that saving may take


def train(
    plan: Plan, state: TrainState, position: Position, history: History
) -> tuple[TrainState, BaseException | None]:
    """Train on from a state; what came of it is in ``position`` and ``history``.

    Where there are several processes, what a listener raised comes back, to be raised when all of
    them are done.
    """
    training = _Training(plan, position, history)
    return training.run(state), training.failure


class _Training:
    def __init__(self, plan: Plan, position: Position, history: History) -> None:
        self.plan, self.at, self.history = plan, position, history
        self.ran: set[Any] = set()  # what was compiled in this process
        self.timed_tokens, self.timed_seconds, self.pace = 0, 0.0, math.nan
        self.chunk = 0  # steps of the latest block
        self.batches: Any = None  # of the latest epoch
        self.count = 0
        self.news: list[Callable[[], None]] = []  # what listeners have still to hear
        self.best: tuple[Params, Row] | None = None  # not yet written
        self.failure: BaseException | None = None  # of a listener; others do not know of it
        self.kept: Saved | None = None
        self.kept_at, self.kept_cost = -math.inf, 0.0

    def run(self, state: TrainState) -> TrainState:
        plan, at = self.plan, self.at
        run = running(state, at.nats, at.in_a_row)
        if at.step == 0 and not at.losses:
            run = self.evaluated(run)
            if self.history.ended:
                return self.diverged(run)
            self.keep(run)
            self.tell(run)
        while not (ended := self.ended()):
            self.batches, self.count = plan.epoch(at.epoch)
            if plan.initial_carry is not None and at.batch == 0:
                carry = plan.initial_carry(run.state.params)
                run = run._replace(state=run.state._replace(carry=carry))
            epoch = at.epoch
            while at.epoch == epoch and not (ended := self.ended()):
                run = self.block(run)
                if at.in_a_row >= plan.limit:
                    return self.diverged(run, of_batches=True)
                if self.is_due():
                    run = self.evaluated(run)
                    if self.history.ended:
                        return self.diverged(run)
                if self.may_keep():
                    self.keep_if_good(run)
                self.tell(run)
        if self.ran and not self.keep_if_good(run, last=True):
            return self.diverged(run)
        self.history.ended, self.history.step = ended, at.step
        return run.state

    def ended(self) -> str:
        """Why no further step is to be done; empty where one is."""
        if self.all_done():
            return "done"
        if self.plan.processes.most(self.plan.stop() or self.failure is not None):
            return "interrupted"
        patience, losses = self.plan.patience, self.at.losses
        since_best = len(losses) - 1 - int(np.argmin(losses or [0]))
        return "no better" if patience is not None and since_best >= patience else ""

    def all_done(self) -> bool:
        """Whether all steps that were asked for are done."""
        plan, at = self.plan, self.at
        by_steps = plan.steps is not None and at.step >= plan.steps
        by_epochs = plan.epochs is not None and at.epoch >= plan.epochs
        return by_steps or by_epochs or (plan.seconds is not None and at.seconds >= plan.seconds)

    def is_due(self) -> bool:
        """Whether to evaluate after the latest block."""
        return self.is_regular() or (self.plan.evaluate is not None and self.all_done())

    def is_regular(self) -> bool:
        """Whether a longer training evaluates here, too: nothing else may steer it."""
        plan, at = self.plan, self.at
        if plan.evaluate_every_steps is not None:
            return at.step % plan.evaluate_every_steps == 0
        return at.batch == 0 and at.epoch % plan.evaluate_every == 0

    def block(self, run: Running) -> Running:
        """Some of an epoch's batches."""
        plan, at = self.plan, self.at
        began = time.perf_counter()
        batches, first, last = plan.piece(self.batches, at.batch, self.count)
        truncation, steps = None, min(self.length(), last - at.batch)
        if plan.adapt is not None:
            if at.step % plan.adapt.every == 0:
                chosen = plan.adapt(run.state, batches, at.batch - first)
                began = time.perf_counter()
                at.truncation = at.truncation if chosen is None else str(chosen)
            truncation = parse_truncation(at.truncation or "full")
            steps = min(steps, plan.adapt.every - at.step % plan.adapt.every)
        # What tells the program from others that were compiled.
        program = truncation, tuple(leaf.shape for leaf in jax.tree.leaves(batches))
        compiled = program in self.ran
        begin = at.batch - first
        run, seen = plan.block(truncation)(run, batches, begin, begin + steps, plan.key)
        self.ran.add(program)
        told = jax.device_get((*seen, run.in_a_row, run.nats, run.error))
        batch, tokens, skipped, in_a_row, nats, error = (np.asarray(x).item() for x in told)
        seconds = plan.processes.led(max(time.perf_counter() - began, 1e-9))
        done = batch - begin
        if compiled:
            self.timed_tokens += tokens
            self.timed_seconds += seconds
            if plan.seconds is not None:  # no clock gets into other checkpoints
                at.seconds += seconds
            self.pace = done / seconds
        at.batch, at.step = at.batch + done, at.step + done
        at.nats, at.in_a_row = nats + error, in_a_row
        at.tokens, at.seen = at.tokens + tokens, at.seen + tokens
        at.skipped += skipped
        self.note_progress(run, tokens / seconds)
        if at.batch >= self.count:
            at.epoch, at.batch = at.epoch + 1, 0
        return run

    def length(self) -> int:
        """How many steps the next block has."""
        plan, at = self.plan, self.at
        if math.isnan(self.pace):  # one step, which also compiles, and then two
            self.chunk += 1
        else:
            self.chunk = int(np.clip(SECONDS * self.pace, 1, 8 * self.chunk))
        steps = min(self.chunk, self.count - at.batch)
        if plan.steps is not None:
            steps = min(steps, plan.steps - at.step)
        if plan.evaluate_every_steps is not None:
            steps = min(steps, plan.evaluate_every_steps - at.step % plan.evaluate_every_steps)
        return steps

    def note_progress(self, run: Running, speed: float) -> None:
        """Progress after the latest block, for whoever listens."""
        plan, at = self.plan, self.at
        left = [math.inf]
        if plan.steps is not None:
            left.append(plan.steps - at.step)
        if plan.epochs is not None:
            left.append((plan.epochs - at.epoch) * self.count - at.batch)
        by_clock = math.inf if plan.seconds is None else max(0.0, plan.seconds - at.seconds)
        loss = at.nats / at.tokens if at.tokens else None
        progress = Progress(
            epoch=at.epoch + 1,
            epochs=plan.epochs,
            step=at.step,
            steps=plan.steps,
            batch=at.batch,
            batches=self.count,
            loss=loss,
            perplexity=perplexity_of(loss) if plan.trains_perplexity and loss is not None else None,
            tokens_per_second=speed,
            seconds_left=None if math.isnan(self.pace) else min(min(left) / self.pace, by_clock),
            learning_rate=rate_of(run.state.opt_state),
            skipped=at.skipped,
        )
        self.news += [partial(listener.progress, progress) for listener in plan.listeners]

    def evaluated(self, run: Running) -> Running:
        """A row of metrics; the state after what the rules make of it."""
        plan, at, state = self.plan, self.at, run.state
        params = averaged(state.opt_state, state.params)
        loss = None if plan.evaluate is None else plan.processes.led(plan.evaluate(params))
        if loss is not None and not math.isfinite(loss):
            self.history.ended = "diverged"
            return run
        if loss is None and at.step == 0:
            return run  # nothing to tell
        speed = self.timed_tokens / self.timed_seconds if self.timed_seconds else 0.0
        row = {
            "epoch": at.epoch if at.batch == 0 else at.epoch + at.batch / self.count,
            "step": at.step,
            "tokens": at.seen,
            "train_loss": at.nats / at.tokens if at.tokens else None,
            "loss": loss,
            **({"perplexity": perplexity_of(loss)} if plan.perplexed and loss is not None else {}),
            "tokens_per_second": round(speed),
            "learning_rate": rate_of(state.opt_state),
            "skipped": at.skipped - at.skipped_before,
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            **({} if plan.adapt is None else {"bptt": at.truncation}),
        }
        self.history.lines.append(row)
        if plan.store is not None:
            plan.store.write_history(self.history)
        if loss is not None and loss < at.best:
            at.best = loss
            self.best = on_host(params), {"loss": loss, "step": at.step}
            self.history.best_params = self.best[0]
        if self.is_regular():
            at.nats, at.tokens, at.skipped_before = 0.0, 0, at.skipped
            self.timed_tokens, self.timed_seconds = 0, 0.0
            if loss is not None:
                at.losses.append(loss)
                for rule in plan.rules:
                    state = state._replace(opt_state=rule(at.losses, state.opt_state))
            # Of the arrays that are there, so that they are on their devices.
            nothing = run.nats - run.nats
            run = run._replace(state=state, nats=nothing, error=jnp.copy(nothing))
        told = here(params)
        self.news += [partial(listener.evaluated, row, told) for listener in plan.listeners]
        return run

    def tell(self, run: Running) -> None:
        """Call all listeners; should one fail, nothing is lost."""
        news, self.news = self.news, []
        try:
            for call in news:
                call()
        except BaseException as error:
            if self.plan.processes.count > 1:  # to end, and to save, takes all of them
                self.failure = error
                return
            if self.ran:
                self.keep_if_good(run, last=True)
            raise

    def good(self, run: Running) -> bool:
        """Whether parameters and carry are finite, and loss and gradient are on some batch."""
        if not _all_finite((run.state.params, run.state.carry)):
            return False
        truncation = parse_truncation(self.at.truncation or "full") if self.plan.adapt else None
        block = self.plan.block(truncation)
        # The latest one that was not skipped, and the next two.
        for index in (self.at.batch - 1 - self.at.in_a_row, self.at.batch, self.at.batch + 1):
            batches, first, _ = self.plan.piece(self.batches, index % self.count, self.count)
            begin = index % self.count - first
            # A copy, because a block uses up what it is given.
            copy = _copied(run)._replace(in_a_row=jnp.zeros_like(run.in_a_row))
            _, seen = block(copy, batches, begin, begin + 1, self.plan.key)
            if not int(seen.skipped):
                return True
        return False

    def may_keep(self) -> bool:
        """Whether it is time to keep the state, and that costs training next to nothing."""
        return self.plan.processes.led(self.could_keep()) > 0

    def could_keep(self) -> bool:
        """As `may_keep`, as far as this process knows."""
        plan, at = self.plan, self.at
        if plan.store is not None and plan.store.busy:
            return False
        cost = self.kept_cost + (0.0 if plan.store is None else plan.store.seconds)
        since = time.perf_counter() - self.kept_at
        wanted = at.batch == 0 or since >= plan.save_every
        return wanted and since * _SHARE >= cost

    def keep_if_good(self, run: Running, *, last: bool = False) -> bool:
        """Keep a state from which training can go on; whether it is one."""
        began = time.perf_counter()
        if not self.good(run):
            self.kept_cost, self.kept_at = time.perf_counter() - began, time.perf_counter()
            return False
        self.keep(run, began, last=last)
        return True

    def keep(self, run: Running, began: float | None = None, *, last: bool = False) -> None:
        """The state as the one to come back to, and into the folder."""
        plan = self.plan
        began = time.perf_counter() if began is None else began
        params = averaged(run.state.opt_state, run.state.params)
        own = params is run.state.params  # and then one copy serves
        if self.best is not None and self.best[1]["step"] == self.at.step:
            params = self.best[0]
        state, params = on_host((run.state._replace(params=None) if own else run.state, params))
        state = state._replace(params=params) if own else state
        position = {**dataclasses.asdict(self.at), "began_with": plan.began_with}
        if plan.store is None or plan.store.best_written is self.best:
            self.best = None  # until then it goes along
        self.kept = Saved(state, position, params, self.best)
        self.kept_cost, self.kept_at = time.perf_counter() - began, time.perf_counter()
        if plan.store is None:
            return
        plan.store.save(self.kept)
        if last or self.at.step == 0:
            plan.store.settle(last=True)

    def diverged(self, run: Running, *, of_batches: bool = False) -> TrainState:
        """The end where no step is finite any more: the last good state.

        It may be that the latest batches are to blame, and not the state.
        """
        plan, self.history.ended, self.history.step = self.plan, "diverged", self.at.step
        if of_batches and self.keep_if_good(run, last=True):
            self.tell(run)
            return run.state
        if plan.store is not None:
            plan.store.settle()
        if self.kept is None:
            return run.state
        if plan.store is not None and self.best is not None:
            plan.store.save(dataclasses.replace(self.kept, best=self.best))
            plan.store.settle(last=True)
        state: TrainState = from_host(self.kept.state, run.state)
        self.tell(run)
        return state


_all_finite = jax.jit(all_finite)
_copied = jax.jit(partial(jax.tree.map, jnp.copy))


def rate_of(opt_state: optax.OptState) -> float | None:
    """The learning rate in an optimiser's state; None where it holds none."""
    try:
        return float(learning_rate(opt_state))
    except ValueError:
        return None
