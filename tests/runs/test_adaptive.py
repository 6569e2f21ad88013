"""``--bptt adaptive:BOUND``: measured again every so many steps, and the same when resumed."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax import runs
from rnn_jax.runs import adaptive
from tests.runs.test_runs import Silent, start

EVERY = 16
runs_fit = sys.modules["rnn_jax.runs.fit"]  # whose name is that of the function in it
OPTIONS: dict[str, Any] = {"epochs": 2, "cell": "tanh", "dropout": 0.2, "bptt": "adaptive:0.2"}


class Measured:
    """`measured_truncation`, with what it found, but another truncation every time."""

    def __init__(self, measure: Any) -> None:
        self.measure = measure
        self.found: list[r.Truncation | None] = []

    def __call__(self, *args: Any) -> r.Truncation | None:
        self.found.append(self.measure(*args))
        # From the batch's index alone, as the true one is from the state alone.
        return (r.sliding(1), r.sliding(4), None, r.full())[args[4] // EVERY % 4]


class At(Silent):
    """Presses Ctrl-C at a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def progress(self, progress: r.training.Progress) -> None:
        if progress.step >= self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    found = Measured(adaptive.measured_truncation)
    monkeypatch.setattr(adaptive, "measured_truncation", found)
    monkeypatch.setattr(runs_fit, "Adaptive", partial(adaptive.Adaptive, every=EVERY))
    return found


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path: Path, measured: Measured) -> None:
    whole, data = start(tmp_path / "whole", **OPTIONS)
    assert runs.fit(whole, data, Silent()) == "done"
    count = data.epoch(0)[1]
    assert len(measured.found) == -(-whole.read_metrics()[-1]["step"] // EVERY) > count // EVERY
    assert all(reach is not None for reach in measured.found)
    parts, data = start(tmp_path / "parts", **OPTIONS)
    # Once between two measurements, and once at one.
    assert runs.fit(parts, data, At(7)) == "interrupted"
    assert runs.fit(parts, data, At(EVERY), resume=True) == "interrupted"
    assert runs.fit(parts, data, Silent(), resume=True) == "done"
    for a, b in zip(*(jax.tree.leaves(f.load_parameters()) for f in (whole, parts)), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [
        [(row["loss"], row["train_loss"], row["bptt"]) for row in folder.read_metrics()]
        for folder in (whole, parts)
    ]
    assert rows[0] == rows[1]
    assert rows[0][0][2] is None and rows[0][1][2] in {"full", "sliding:1", "sliding:4"}


def test_what_is_measured_follows_the_decay(tmp_path: Path) -> None:
    """A recurrent matrix that shrinks gradients by a known factor, without nonlinearity at 0."""
    _, data = start(tmp_path / "run", **OPTIONS | {"dropout": 0.0, "seq_length": 30})
    batches, _ = data.epoch(0)
    assert not isinstance(batches, r.training.Fed)
    reaches = []
    for decay in (0.1, 0.5, 0.85, 1.2):
        params = jax.tree.map(lambda p: 1e-4 * p, data.initial_parameters)
        params["layer"]["w_hh"] = decay * jnp.eye(8)
        carry = data.model.initial_carry((4,), params)
        reaches.append(adaptive.measured_truncation(data.model, params, carry, batches, 3, 0.1))
    # 0.1 ** 1, 0.5 ** (3 + 1), 0.85 ** (14 + 1), rounded up to powers of two; no decay: all.
    assert reaches == [r.sliding(1), r.sliding(4), r.sliding(16), r.full()]


def test_sentences_and_batches_that_tell_nothing(tmp_path: Path) -> None:
    _, data = start(tmp_path / "run", **OPTIONS, batching="sentences")
    batches, _ = data.epoch(0)
    assert isinstance(batches, r.SentenceStream)
    params = data.initial_parameters
    reach = adaptive.measured_truncation(data.model, params, None, batches, 0, 0.1)
    assert isinstance(reach, r.Sliding | r.Full)
    broken = jax.tree.map(lambda p: p * jnp.nan, params)
    assert adaptive.measured_truncation(data.model, broken, None, batches, 0, 0.1) is None
    single = r.sentence_stream(np.array([0, 1, 2, 3]), np.array([0, 2, 4]), buckets=(1,))
    assert adaptive.measured_truncation(data.model, params, None, single, 0, 0.1) is None


def test_few_truncations_are_ever_compiled() -> None:
    reaches = {adaptive.rounded(steps, 35) for steps in (*range(100), None)}
    assert reaches == {r.full(), *(r.sliding(k) for k in (1, 2, 4, 8, 16, 32))}


@pytest.mark.parametrize(
    "bptt, message",
    [
        ("adaptive:0", r"--bptt the bound on the relative bias must lie in \(0, 1\), not 0\.0"),
        ("adaptive:1", r"--bptt the bound on the relative bias must lie in \(0, 1\), not 1\.0"),
        ("adaptive:nan", "not nan"),
        ("adaptive", "--bptt 'adaptive' is not a truncation: write adaptive:0.1"),
        ("adaptive:much", "write adaptive:0.1"),
    ],
)
def test_a_bound_that_is_none(bptt: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runs.TrainConfig(bptt=bptt)


def test_one_truncation_is_needed_to_check_gradients() -> None:
    config = runs.TrainConfig(bptt="adaptive:0.1")
    with pytest.raises(ValueError, match=r"while a run trains: name one, such as sliding:4"):
        runs.truncated(config, runs.make_model(config, 9))
