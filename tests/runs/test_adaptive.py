"""``--bptt adaptive:BOUND``: measured again every so many steps, and the same when resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax import runs
from rnn_jax.runs import adaptive, trainer
from tests.runs.test_runs import Silent, start

EVERY = 16
OPTIONS: dict[str, Any] = {"epochs": 2, "cell": "tanh", "dropout": 0.2, "bptt": "adaptive:0.2"}


class Measured:
    """`measured_reach`, with what it found; where asked for, another reach every time."""

    def __init__(self, *, varied: bool) -> None:
        self.varied = varied
        self.found: list[int | None] = []

    def __call__(self, *args: Any) -> int | None:
        found = adaptive.measured_reach(*args)
        self.found.append(found)
        # From the batch's index alone, as the true one is from the state alone.
        return (1, 4, None, -1)[args[4] // EVERY % 4] if self.varied else found


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    found = Measured(varied=True)
    monkeypatch.setattr(trainer, "EVERY", EVERY)
    monkeypatch.setattr(trainer, "measured_reach", found)
    return found


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path: Path, measured: Measured) -> None:
    whole, data = start(tmp_path / "whole", **OPTIONS)
    assert runs.fit(whole, data, Silent())
    count = data.epoch(0)[1]
    assert len(measured.found) == -(-whole.read_metrics()[-1]["step"] // EVERY) > count // EVERY
    assert all(reach is not None for reach in measured.found)
    parts, data = start(tmp_path / "parts", **OPTIONS)
    # The first chunks end at 4, 12 and 16 steps: once between two measurements, once at one.
    assert not runs.fit(parts, data, Silent(interrupt_at=2))
    assert not runs.fit(parts, data, Silent(interrupt_at=1), resume=True)
    assert runs.fit(parts, data, Silent(), resume=True)
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
    reaches = []
    for decay in (0.1, 0.5, 0.85, 1.2):
        params = jax.tree.map(lambda p: 1e-4 * p, data.initial_parameters)
        params["layer"]["w_hh"] = decay * jnp.eye(8)
        carry = data.model.initial_carry((4,), params)
        reaches.append(adaptive.measured_reach(data.model, params, carry, batches, 3, 0.1))
    # 0.1 ** 1, 0.5 ** (3 + 1), 0.85 ** (14 + 1), rounded up to powers of two; no decay: all.
    assert reaches == [1, 4, 16, -1]
    assert adaptive.as_kind(-1) == r.full()


def test_sentences_and_batches_that_tell_nothing(tmp_path: Path) -> None:
    _, data = start(tmp_path / "run", **OPTIONS, batching="sentences")
    batches, _ = data.epoch(0)
    assert isinstance(batches, r.SentenceStream)
    params = data.initial_parameters
    reach = adaptive.measured_reach(data.model, params, None, batches, 0, 0.1)
    assert reach is not None and reach >= 1
    broken = jax.tree.map(lambda p: p * jnp.nan, params)
    assert adaptive.measured_reach(data.model, broken, None, batches, 0, 0.1) is None
    single = r.sentence_stream(np.array([0, 1, 2, 3]), np.array([0, 2, 4]), buckets=(1,))
    assert adaptive.measured_reach(data.model, params, None, single, 0, 0.1) is None


def test_few_truncations_are_ever_compiled() -> None:
    reaches = {adaptive.rounded(steps, 35) for steps in (*range(100), None)}
    assert reaches == {1, 2, 4, 8, 16, 32, -1}


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
