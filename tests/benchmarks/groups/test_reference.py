"""The reference step: its implementations do the same work, and its rows state it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.groups import reference
from benchmarks.measuring import runner
from benchmarks.measuring.oracle import Wrong
from rnn_jax.recipes.reference_step import (
    Stepper,
    Workload,
    steppers,
)

SMALL = Workload(vocab_size=30, hidden_size=4, length=6, window=2, sentences=3)
NAMES = {"numpy-loop", "numpy-loop-float32", "numpy-vectorised", "jax-call", "jax-scan", "floor"}
LIMITS = runner.Limits(rounds=1, case_s=0)


def reference_rows() -> dict[str, dict[str, Any]]:
    rows: list[Any] = runner.measure(
        reference.reference_case(SMALL), lambda row: None, limits=LIMITS
    )
    return {row["implementation"]: row for row in rows}


def test_the_implementations_do_the_same_work() -> None:
    reference.check(SMALL)


def test_a_wrong_implementation_is_not_timed() -> None:
    right = steppers(SMALL)["jax-scan"]
    wrong = Stepper(right.call, right.steps, lambda: tuple(1.001 * w for w in right.weights()))
    lazy = Stepper(lambda: None, right.steps, steppers(SMALL)["jax-scan"].weights)
    broken = Stepper(lambda: None, 1, lambda: tuple(np.full_like(w, np.nan) for w in SMALL.weights))
    for stepper in (wrong, lazy, broken):
        with pytest.raises(Wrong, match="candidate is wrong and will not be timed"):
            reference.check(SMALL, {"candidate": stepper})


def test_reference_rows_hold_what_one_needs_to_judge_them() -> None:
    rows = reference_rows()
    assert set(rows) == NAMES
    for name, row in rows.items():
        assert row["status"] == "ok", row["reason"]
        assert 0 < row["q25_ms"] <= row["median_ms"] <= row["q75_ms"]
        assert row["dtype"] == ("float64" if name == "numpy-loop" else "float32")
        assert (row["compile_s"] is not None) == (not name.startswith("numpy"))
        assert (row["V"], row["H"], row["T"], row["truncation"]) == (30, 4, 6, "sliding:2")
    loop = rows["numpy-loop"]
    assert rows["jax-scan"]["times_faster_than_loop"] == pytest.approx(loop["ratio"])


def test_the_headline_has_all_three_baselines_with_dtype_and_spread() -> None:
    times = {"numpy-loop": 50.0, "numpy-loop-float32": 25.0, "numpy-vectorised": 3.0, "jax-scan": 2}
    times["jax-call"] = 4.0
    rows: list[Any] = [
        {
            "workload": "w", "implementation": name, "median_ms": ms, "q25_ms": 0.9 * ms,
            "q75_ms": 1.1 * ms, "dtype": "float64" if name == "numpy-loop" else "float32",
        }
        for name, ms in times.items()
    ]  # fmt: skip
    rows[2] |= {"ratio_low": 1.4, "ratio_high": 1.6}
    rows.append({"workload": "w", "implementation": "published NumPy loop", "published_ms": 180.0})
    assert reference.GROUP.headline is not None
    lines, sentence = reference.GROUP.headline(rows)
    assert lines == []
    for part in (
        "rnn_jax in float32 (2 ± 0.3 ms ~) is 25.0 times (± 5.2) as fast as the published NumPy "
        "loop in float64 (50 ± 7.4 ms ~), 12.5 times (± 2.6) as fast as that loop in float32 "
        "(25 ± 3.7 ms ~), 1.50 times [1.40, 1.60] as fast as vectorised NumPy in float32 "
        "(3 ± 0.44 ms ~). One step a call, as NumPy has it, it takes 4 ± 0.59 ms ~, and "
        "vectorised NumPy 0.75 times (± 0.16) as long.",
        "The tutorial gives about 180 ms for its loop.",
        "± is one standard deviation of single calls, by their quartiles.",
        "That of a ratio is of both times together.",
        "[…] is the 95 % interval of a ratio.",
    ):
        assert part in sentence
    rows[2] |= {"ratio_low": None, "ratio_high": None}
    assert "interval" not in reference.GROUP.headline(rows)[1]
