"""The benchmark suite: its timer, its checks, its rows and its refusals; nothing is timed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import step_time
from benchmarks.__main__ import main
from benchmarks.timing import quartiles
from rnn_jax.reference_step import Stepper, Workload, compare_step_time, interleaved, steppers

SMALL = Workload(vocab_size=30, hidden_size=4, length=6, window=2, sentences=3)
NAMES = {"numpy-loop", "numpy-loop-float32", "numpy-vectorised", "jax-call", "jax-scan", "floor"}


def test_calls_take_turns_and_each_is_clocked_alone() -> None:
    now, order = [0.0], []

    def lasting(name: str, seconds: float) -> Any:
        def call() -> None:
            order.append(name)
            now[0] += seconds

        return call

    calls = {"short": lasting("short", 0.25), "long": lasting("long", 2.0)}
    seconds = interleaved(calls, 3, clock=lambda: now[0])
    assert seconds == {"short": [0.25] * 3, "long": [2.0] * 3}
    assert order == ["short", "long"] * 3


def test_quartiles_are_milliseconds_a_step() -> None:
    row = quartiles([0.5, 0.1, 0.3, 0.2, 0.4], steps=10)
    assert row == pytest.approx({"median_ms": 30, "q25_ms": 20, "q75_ms": 40})


def test_the_implementations_do_the_same_work() -> None:
    step_time.check(SMALL)


def test_a_wrong_implementation_is_not_timed() -> None:
    right = steppers(SMALL)["jax-scan"]
    wrong = Stepper(right.call, right.steps, lambda: tuple(1.001 * w for w in right.weights()))
    lazy = Stepper(lambda: None, right.steps, steppers(SMALL)["jax-scan"].weights)
    broken = Stepper(lambda: None, 1, lambda: tuple(np.full_like(w, np.nan) for w in SMALL.weights))
    for stepper in (wrong, lazy, broken):
        with pytest.raises(ValueError, match="candidate is wrong and will not be timed"):
            step_time.check(SMALL, {"candidate": stepper})


def test_rows_hold_what_one_needs_to_judge_them() -> None:
    rows = step_time.measure(SMALL, rounds=2)
    assert {row["implementation"] for row in rows} == NAMES
    for row in rows:
        assert 0 < row["q25_ms"] <= row["median_ms"] <= row["q75_ms"]
        assert row["dtype"] == ("float64" if row["implementation"] == "numpy-loop" else "float32")
        assert (row["compile_s"] is not None) == (not row["implementation"].startswith("numpy"))
        assert {"device", "jax", "numpy", "python", "cpu_count", "date", "rounds"} <= set(row)
        assert (row["V"], row["H"], row["T"], row["truncation"]) == (30, 4, 6, "sliding:2")
        json.dumps(row)


def test_quick_run_writes_and_prints_and_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"implementation": "floor", "dtype": "float32", "median_ms": 0.5}]
    monkeypatch.setattr(step_time, "measure", lambda work, rounds: rows)
    file = tmp_path / "rows.json"
    assert main(["step-time", "--quick", "--json", str(file)]) == 0
    assert json.loads(file.read_text()) == rows
    assert "| floor          | float32 | 0.500 " in capsys.readouterr().out
    for name, sentence in ((file, "exists already"), (tmp_path / "no" / "x", "does not exist")):
        assert main(["step-time", "--quick", "--json", str(name)]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["step-time", "--seed", "-1"]) == 2
    assert "--seed must be at least 0" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


def test_without_a_name_the_benchmarks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "step-time" in capsys.readouterr().out


def test_the_comparison_says_both_times_and_their_ratio() -> None:
    said = compare_step_time(SMALL, rounds=1)
    loop, scan, ratio = (
        float(word)
        for line in said.splitlines()[1:3]
        for word in line.replace(",", "").split()
        if word.replace(".", "").isdigit()
    )
    assert ratio == pytest.approx(loop / scan, rel=0.2, abs=0.1)
