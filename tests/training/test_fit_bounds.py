"""`fit` for so many seconds, and by a validation loss of one's own."""

from __future__ import annotations

import math
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import rnn_jax
from rnn_jax.training import Listener, Progress, consecutive
from rnn_jax.training.store import Store

MODEL = rnn_jax.language_model(7, rnn_jax.recurrent(rnn_jax.gru(4)))
DATA = consecutive(np.arange(130) % 7, batch_size=2, seq_length=8)
KEY = jax.random.key(0)


def test_training_ends_within_an_epoch_when_its_time_is_over_and_is_evaluated_there() -> None:
    state, history = rnn_jax.fit(
        MODEL, optax.sgd(0.1), DATA, epochs=9, seconds=1e-9, key=KEY, validation=DATA
    )
    # The step that compiles is not counted, and the next block is over the time.
    assert int(state.step) == 3 < DATA.count and history.ended == "done"
    assert [(row["epoch"], row["step"]) for row in history.rows] == [(0, 0), (3 / DATA.count, 3)]
    three, _ = rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, steps=3, key=KEY)
    jax.tree.map(np.testing.assert_array_equal, state, three)


class Clock:
    """Every look at it is a second later, so that each block takes one."""

    strftime = staticmethod(time.strftime)

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sys.modules["rnn_jax.training.session"], "time", clock)
    return clock


def test_the_time_of_evaluations_is_not_counted(clock: Clock) -> None:
    def slow(params: Any) -> float:
        clock.now += 1000.0
        return 1.0

    state, history = rnn_jax.fit(
        MODEL, optax.sgd(0.1), DATA, seconds=40.0, epochs=99, key=KEY, validation=slow
    )
    # Each block of steps took a second, but for the first, which compiles.
    assert int(state.step) > 40 and 5 <= history.rows[-1]["epoch"] < 99


@pytest.mark.usefixtures("clock")
def test_a_resumed_training_has_the_time_that_is_left(tmp_path: Path) -> None:
    def stop(row: dict[str, Any], params: Any) -> None:
        if row["step"]:
            signal.raise_signal(signal.SIGINT)

    options: dict[str, Any] = {"seconds": 20.0, "key": KEY, "folder": tmp_path / "run"}
    train = partial(rnn_jax.fit, MODEL, optax.sgd(0.1), DATA, **options)
    part, history = train(listeners=[stop])
    assert history.ended == "interrupted" and history.interrupted
    whole, history = train(resume=True)
    assert history.ended == "done" and not history.interrupted
    # A block a second, and of each process one that compiles beside them.
    assert position(tmp_path / "run")["seconds"] == 20.0
    again, _ = train(resume=True)
    assert int(part.step) < int(whole.step) == int(again.step)


def position(folder: Path) -> dict[str, Any]:
    _, found = Store(folder).load(None)
    return found


def test_the_clock_is_in_no_other_checkpoint(tmp_path: Path) -> None:
    for seconds in (None, math.inf):
        folder = tmp_path / str(seconds)
        rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, seconds=seconds, epochs=9, key=KEY, folder=folder)
        assert position(folder)["seconds"] == 0.0


@pytest.mark.usefixtures("clock")
def test_the_time_of_each_program_s_first_block_is_not_counted() -> None:
    """As epochs of other shapes need: compiling would use the time up, and spoil the speed."""

    def longer(epoch: int) -> Any:
        return consecutive(np.arange(130) % 7, batch_size=2, seq_length=4 + epoch)

    blocks: list[int] = []

    class Steps(Listener):
        def progress(self, progress: Progress) -> None:
            blocks.append(progress.epoch)

    rnn_jax.fit(MODEL, optax.sgd(0.1), longer, seconds=40.0, key=KEY, listeners=[Steps()])
    assert len(blocks) == 40 + blocks[-1]


def test_progress_tells_the_time_that_is_left() -> None:
    class Left(Listener):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def progress(self, progress: Progress) -> None:
            if progress.seconds_left is not None:
                self.seconds.append(progress.seconds_left)

    left = Left()
    rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, seconds=0.05, key=KEY, listeners=[left])
    assert left.seconds[0] < 0.05 and left.seconds[-1] == 0
    assert left.seconds == sorted(left.seconds, reverse=True)


def test_a_function_of_the_parameters_is_the_loss_that_becomes_low() -> None:
    wanted = 0.3

    def distance(params: Any) -> jax.Array:
        return abs(params["readout"]["b"].mean() - wanted)

    def away(losses: Any, opt_state: Any) -> Any:
        given.append(list(losses))
        return opt_state

    given: list[list[float]] = []
    told: list[Any] = []
    _, history = rnn_jax.fit(
        MODEL, optax.adam(0.05), DATA, epochs=3, key=KEY, validation=distance,
        on_evaluation=[away], listeners=[lambda row, params: told.append(float(distance(params)))],
    )  # fmt: skip
    losses = [row["loss"] for row in history.rows]
    assert losses == told == given[-1] and all(type(loss) is float for loss in losses)
    assert float(distance(history.best_params)) == min(losses)
    assert "perplexity" not in history.rows[-1]  # nobody knows that it is a cross-entropy
    _, history = rnn_jax.fit(
        MODEL, optax.sgd(0.1), DATA, epochs=9, key=KEY, validation=lambda _: 1.0, patience=2
    )
    assert history.ended == "no better" and len(history.rows) == 3


def test_a_validation_that_is_no_number_is_refused() -> None:
    options: dict[str, Any] = {"epochs": 1, "key": KEY}
    options["validation"] = lambda _: (1.0, 2)
    with pytest.raises(ValueError, match=r"must return one number, .* shape \(2,\)"):
        rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, **options)
    with pytest.raises(ValueError, match="leave out validation_loss="):
        rnn_jax.fit(
            MODEL, optax.sgd(0.1), DATA, validation_loss=rnn_jax.cross_entropy, **options
        )  # fmt: skip


@pytest.mark.parametrize("seconds", [0, -1.0, math.nan, "60", True])
def test_a_time_that_is_none_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match="seconds must be a number above 0, not"):
        rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, seconds=seconds, key=KEY)
