"""The benchmark of `fit`: a training that stops between its turns, and what its rows come to."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from benchmarks.measuring import fitting, runner
from benchmarks.measuring.case import Options
from benchmarks.measuring.oracle import Wrong
from benchmarks.measuring.workloads import Language
from benchmarks.peers import OURS

SMALL = Language("test", "lstm", 7, 4, 2, 6, 3, 2, 1e-3, 0.1, optimizer="adam")
LIMITS = runner.Limits(rounds=1, case_s=0)


def measure(pass_name: str, *names: str) -> list[Any]:
    case = fitting.case("group", SMALL, Options(), pass_name, 3).only(names)
    return runner.measure(case, lambda row: None, limits=LIMITS)


def test_fit_is_timed_beside_its_bare_steps() -> None:
    rows = measure(fitting.FIT, OURS, fitting.BARE)
    assert [(row["status"], row["steps_per_call"]) for row in rows] == [("ok", 3)] * 2
    assert rows[0]["compile_s"] > 0 and rows[1]["ratio"] > 0
    (sentence,) = fitting.findings(rows)
    assert "over its bare compiled steps" in sentence


def test_one_call_of_two_saves_a_checkpoint() -> None:
    rows = measure(fitting.CHECKPOINT, OURS, fitting.SAVING)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert rows[1]["ratio"] > 1  # a call is 3 tiny steps, and writes files
    (sentence,) = fitting.findings(rows)
    assert "a checkpoint costs training" in sentence


def test_the_folder_is_written_to_when_that_is_wanted() -> None:
    store = fitting._Store()
    training = fitting._endless(SMALL, SMALL.arrays(), 3, folder=store, save_every=0.0)
    training()
    assert store.step == 0
    store.want()
    training()
    store.settle(last=True)
    assert store.step is not None and 9 <= store.step <= 12
    at = store.step
    training()
    assert store.step == at


def test_a_training_goes_on_by_so_many_steps_a_call_and_ends_with_its_case() -> None:
    heard: list[int] = []

    def train(listener: Any) -> None:
        for step in range(1, 100):
            heard.append(step)
            listener.progress(type("Progress", (), {"step": step}))

    paused = fitting.Paused(SMALL, 4, train)
    assert heard[-1] == 8  # it has warmed up
    paused()
    assert heard[-1] == 12
    threads = threading.active_count()
    del paused
    gc.collect()
    assert heard[-1] == 12 and threading.active_count() == threads - 1


def test_what_fails_in_the_thread_is_raised_by_the_call() -> None:
    def train(listener: Any) -> None:
        raise ValueError("no such data")

    with pytest.raises(ValueError, match="no such data"):
        fitting.Paused(SMALL, 4, train)


def test_a_fit_that_trains_otherwise_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fitting._first_step

    def wrong(*arguments: Any) -> Any:
        return {name: 1.1 * array for name, array in right(*arguments).items()}

    monkeypatch.setattr(fitting, "_first_step", wrong)
    with pytest.raises(Wrong, match="off by"):
        fitting._open_fit(SMALL, 3)(OURS)
    rows = measure(fitting.CHECKPOINT, OURS, fitting.SAVING)
    assert [row["status"] for row in rows] == ["wrong", "wrong"]


def test_the_findings_are_ratios_and_shares() -> None:
    def row(pass_name: str, name: str, ms: float | None) -> Any:
        return {
            "workload": "w", "pass": pass_name, "implementation": name, "median_ms": ms,
            "steps_per_call": 20,
        }  # fmt: skip

    rows = [
        row("fit", OURS, 102.0), row("fit", fitting.BARE, 100.0), row("fit", "torch", 255.0),
        row("checkpoint", OURS, 100.0), row("checkpoint", fitting.SAVING, 130.0),
        row("step", OURS, 1.0),
    ]  # fmt: skip
    assert fitting.findings(rows) == [
        "w: `fit` takes +2.0% over its bare compiled steps.",
        "w: PyTorch's loop takes 2.50 times as long as `fit`.",
        "w: a checkpoint costs training 0.60 s, which is 0.50% of the 120 s from one to the next.",
    ]
    assert fitting.findings([row("fit", OURS, None), row("fit", "torch", 2.0)]) == []
    same = [row("checkpoint", OURS, 100.0), row("checkpoint", fitting.SAVING, 99.0)]
    assert fitting.findings(same) == [
        "w: a checkpoint costs training less than these times can tell."
    ]


def test_the_findings_have_the_ends_of_their_intervals() -> None:
    def row(pass_name: str, name: str, ms: float, *ratio: float) -> Any:
        keys = ("ratio", "ratio_low", "ratio_high")
        return {
            "workload": "w", "pass": pass_name, "implementation": name, "median_ms": ms,
            "steps_per_call": 20, **dict(zip(keys, ratio, strict=False)),
        }  # fmt: skip

    assert fitting.findings(
        [
            row("fit", OURS, 100.0),
            row("fit", fitting.BARE, 80.0, 0.8, 0.5, 1.25),
            row("fit", "torch", 250.0, 2.5, 2.4, 2.75),
            row("checkpoint", OURS, 100.0),
            row("checkpoint", fitting.SAVING, 130.0, 1.3, 1.2, 1.5),
        ]
    ) == [
        "w: `fit` takes +25.0% (between -20.0% and +100.0%) over its bare compiled steps.",
        "w: PyTorch's loop takes 2.50 times [2.40, 2.75] as long as `fit`.",
        "w: a checkpoint costs training 0.60 s (between 0.40 and 1.00), which is 0.50% of the 120 "
        "s from one to the next.",
    ]
    unsure = [row("checkpoint", OURS, 100.0), row("checkpoint", fitting.SAVING, 110, 1.1, 0.9, 1.4)]
    assert fitting.findings(unsure) == [
        "w: a checkpoint costs training less than these times can tell: 0.80 s at most."
    ]
