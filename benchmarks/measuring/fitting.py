"""Cases of `rnn_jax.fit`: what it adds to its steps, PyTorch's loop, and what a checkpoint costs.

Every `fit` compiles its block of steps, which would hide what is to be measured, and two trainings
one after the other are not the same machine a moment later. So one training goes on while the case
is timed, and stops after so many steps until its next turn; see `Paused`.
"""

from __future__ import annotations

import inspect
import math
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from benchmarks.measuring import flops
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.language import check_step, expected_step, prepare_ours
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers import OURS
from benchmarks.peers.language_ours import model_of, optimizer_of, params_of, updates_of
from benchmarks.rows import Row, by, number
from rnn_jax.training import Listener, Progress
from rnn_jax.training.store import Store

__all__ = ["BARE", "CHECKPOINT", "FIT", "SAVING", "Paused", "case", "findings"]

FIT, CHECKPOINT = "fit", "checkpoint"  # passes
BARE, SAVING = f"{OURS}-steps", f"{OURS}-saving"

# An epoch has so many calls, about as many steps as one of Penn Treebank's. After an epoch `fit`
# keeps its state, which is the pass "checkpoint".
_CALLS = 20


def case(group: str, workload: Language, options: Options, pass_name: str, steps: int) -> Case:
    """Training by `fit`, ``steps`` a call.

    "fit": beside as many steps in one compiled call, and a loop in PyTorch.
    "checkpoint": in a folder, without and with one checkpoint a call. The latter ends when it is
    written.
    """
    workload = replace(workload, dtype=options.dtype, precision=options.precision)
    names = {FIT: (OURS, BARE, "torch"), CHECKPOINT: (OURS, SAVING)}
    opening = {FIT: _open_fit, CHECKPOINT: _open_checkpoint}
    return Case(
        group,
        pass_name,
        workload.facts(),
        names[pass_name],
        lambda: opening[pass_name](workload, steps),
        of="a training step, with all that goes with it",
        cost=flops.language_step(workload),
        rank=0,
        per_second=("tokens", workload.length * workload.batch),
    )


def findings(rows: Sequence[Row]) -> list[str]:
    """What rows of the two passes come to, a sentence each."""
    sentences = []
    for (workload, pass_name), same in by(rows, "workload", "pass").items():
        timed = {row["implementation"]: row for row in same if row["median_ms"]}
        if OURS not in timed:
            continue
        own = number(timed[OURS], "median_ms")
        if pass_name == FIT and BARE in timed:
            # The ratio is of the bare steps by `fit`: the more they take, the less it adds.
            more, most, least = (1 / ratio - 1 for ratio in _ratios(timed[BARE], own))
            between = f" (between {least:+.1%} and {most:+.1%})" if least < most else ""
            sentences.append(
                f"{workload}: `fit` takes {more:+.1%}{between} over its bare compiled steps."
            )
        if pass_name == FIT and "torch" in timed:
            ratio, *ends = _ratios(timed["torch"], own)
            between = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends[0] < ends[1] else ""
            sentences.append(
                f"{workload}: PyTorch's loop takes {ratio:.2f} times{between} as long as `fit`."
            )
        if pass_name == CHECKPOINT and SAVING in timed:
            each = own * (timed[SAVING]["steps_per_call"] or 1) / 1e3
            seconds, least, most = (each * (ratio - 1) for ratio in _ratios(timed[SAVING], own))
            every = inspect.signature(rnn_jax.fit).parameters["save_every"].default
            share = f"{seconds / every:.2%} of the {every:g} s from one to the next"
            between = f" (between {least:.2f} and {most:.2f})" if least < most else ""
            cost = f"{seconds:.2f} s{between}, which is {share}"
            at_most = f": {most:.2f} s at most" if most > 0 else ""
            unseen = f"less than these times can tell{at_most}"
            sentences.append(
                f"{workload}: a checkpoint costs training {cost if least > 0 else unseen}."
            )
    return sentences


def _ratios(row: Row, own_ms: float) -> tuple[float, float, float]:
    """A time by ours, and the ends of its interval, which are itself where there is none."""
    ratio, low, high = row.get("ratio"), row.get("ratio_low"), row.get("ratio_high")
    ratio = ratio or number(row, "median_ms") / own_ms
    return (ratio, low, high) if low is not None and high is not None else (ratio, ratio, ratio)


class _Ended(Exception):
    """Ends a training whose case is over."""


class _Turns(Listener):
    """Lets a training go on until its step is a multiple of ``every``."""

    def __init__(self, every: int) -> None:
        self.every, self.over = every, False
        self.go, self.stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.error: BaseException | None = None

    def progress(self, progress: Progress) -> None:
        if progress.step % self.every == 0:
            self.stopped.release()
            self.go.acquire()
        if self.over:
            raise _Ended

    def evaluated(self, row: Any, params: Any) -> None:
        pass


class Paused:
    """A call of `fit` in a thread of its own, which does ``every`` steps whenever it is called.

    The thread that calls waits, so that the training takes turns with whatever else is timed. What
    is timed is a training in its middle with all that `fit` does beside its steps: reading back
    what a block did, looking at the clock, telling listeners, adding a row to its metrics. Its
    blocks are as long as always, but that one ends where a call does.

    compile_s: seconds of the first step and all before it.
    """

    def __init__(self, workload: Language, every: int, train: Callable[[Listener], Any]) -> None:
        turns = _Turns(every)
        thread = threading.Thread(target=_run, args=(workload, train, turns), daemon=True)
        self._turns = turns
        self._end = weakref.finalize(self, _end, turns, thread)
        thread.start()
        began = time.perf_counter()
        self()
        self.compile_s = time.perf_counter() - began
        self()  # blocks have found their length

    def __call__(self) -> None:
        turns = self._turns
        turns.go.release()
        turns.stopped.acquire()
        if turns.error is not None:
            raise turns.error


def _run(workload: Language, train: Callable[[Listener], Any], turns: _Turns) -> None:
    turns.go.acquire()
    try:
        # A thread begins with the default of each.
        with (
            jax.default_matmul_precision(workload.precision),
            jax.enable_x64(workload.dtype == "float64"),
        ):
            train(turns)
    except _Ended:
        pass
    except BaseException as error:
        turns.error = error
    turns.stopped.release()


def _end(turns: _Turns, thread: threading.Thread) -> None:
    turns.over = True
    turns.go.release()
    thread.join()


def _fit(workload: Language, arrays: Arrays, tokens: np.ndarray, **options: Any) -> Any:
    """`fit` on all the batches of tokens, with a row of metrics every ``every`` steps."""
    data = rnn_jax.Windows(jnp.asarray(tokens[:, :-1]), jnp.asarray(tokens[:, 1:]))
    key = None if workload.noise is None else jax.random.key(workload.seed)
    params = params_of(workload, arrays)
    model, optimizer = model_of(workload), optimizer_of(workload)
    return rnn_jax.fit(model, optimizer, data, key=key, params=params, **options)


def _endless(workload: Language, arrays: Arrays, steps: int, **options: Any) -> Paused:
    tokens = workload.tokens(_CALLS * steps)

    def train(listener: Listener) -> None:
        _fit(
            workload, arrays, tokens, listeners=[listener], steps=10**9,
            evaluate_every_steps=steps, **options,
        )  # fmt: skip

    return Paused(workload, steps, train)


def _first_step(workload: Language, arrays: Arrays) -> Arrays:
    """What `fit` makes of one step."""
    model, optimizer = model_of(workload), optimizer_of(workload)
    before = rnn_jax.init_train_state(model, optimizer, params_of(workload, arrays))
    after, history = _fit(workload, arrays, workload.tokens(1), steps=1, evaluate_every_steps=1)
    loss = np.asarray(history.rows[-1]["train_loss"])
    return {"loss": loss, **updates_of(workload, before, after)}


def _open_fit(workload: Language, steps: int) -> Callable[[str], Prepared]:
    arrays, tokens = workload.arrays(), workload.tokens(steps)
    wanted: list[Arrays] = []

    def ours() -> Prepared:
        training = _endless(workload, arrays, steps)
        return Prepared(
            training,
            lambda: _first_step(workload, arrays),
            training.compile_s,
            steps=steps,
            equations=workload.equations,
        )

    def torch() -> Prepared:
        from benchmarks.peers import language_pytorch

        return language_pytorch.prepare_training(workload, arrays, tokens, FIT)

    builds = {
        OURS: ours,
        BARE: lambda: prepare_ours(workload, arrays, tokens, "many-steps"),
        "torch": torch,
    }

    def prepare(name: str) -> Prepared:
        prepared = builds[name]()
        if not wanted:
            wanted.append(expected_step(workload, arrays, tokens[0]))
        check_step(workload, prepared.result(), wanted[0], by=name)
        return prepared

    return prepare


class _Store(Store):
    """A temporary folder that is written to when that is ``wanted``, and not by the clock.

    `fit` asks whether it is busy, and how many seconds it took to write the last time, so as to
    write seldom enough.
    """

    def __init__(self) -> None:
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder)
        super().__init__(Path(folder))
        self.wanted = False

    @property
    def busy(self) -> bool:
        return not self.wanted or super().busy

    def save(self, saved: Any) -> None:
        super().save(saved)
        self.wanted = False

    def want(self) -> None:
        self.settle()
        self.wanted, self.seconds = True, -math.inf


def _open_checkpoint(workload: Language, steps: int) -> Callable[[str], Prepared]:
    """One training for both, so that they differ in nothing but a checkpoint."""
    arrays = workload.arrays()
    want = expected_step(workload, arrays, workload.tokens(1)[0])
    check_step(workload, _first_step(workload, arrays), want)
    store = _Store()
    training = _endless(workload, arrays, steps, folder=store, save_every=0.0)

    def with_checkpoint() -> None:
        store.want()
        training()
        if store.wanted:
            raise RuntimeError("fit has not saved")
        store.settle(last=True)

    def prepare(name: str) -> Prepared:
        calls: dict[str, Callable[[], object]] = {OURS: training, SAVING: with_checkpoint}
        return Prepared(
            calls[name], dict, training.compile_s, steps=steps, equations=workload.equations
        )

    return prepare
