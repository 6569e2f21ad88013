"""`fit` for so many seconds, and by a validation loss of one's own."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import optax
import pytest

import rnn_jax
from rnn_jax.training import Listener, Progress, consecutive

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


def test_the_time_of_evaluations_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def look() -> float:
        nonlocal now
        now += 1.0  # so that each block takes a second
        return now

    def slow(params: Any) -> float:
        nonlocal now
        now += 1000.0
        return 1.0

    clock = SimpleNamespace(perf_counter=look, strftime=time.strftime)
    monkeypatch.setattr(sys.modules["rnn_jax.training.session"], "time", clock)
    state, history = rnn_jax.fit(
        MODEL, optax.sgd(0.1), DATA, seconds=40.0, epochs=99, key=KEY, validation=slow
    )
    # Each block of steps took a second, but for the first, which compiles.
    assert int(state.step) > 40 and 5 <= history.rows[-1]["epoch"] < 99


def test_a_resumed_training_has_the_time_that_is_left(tmp_path: Path) -> None:
    options: dict[str, Any] = {"seconds": 0.05, "key": KEY, "folder": tmp_path / "run"}
    before, _ = rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, **options)
    after, history = rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, resume=True, **options)
    assert int(after.step) == int(before.step) and history.ended == "done"


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


@pytest.mark.parametrize("seconds", [0, -1.0, math.nan])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be a number above 0, not"):
        rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, seconds=seconds, key=KEY)
