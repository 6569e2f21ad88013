"""The summary of ratios."""

from __future__ import annotations

import pytest

from benchmarks.reporting.summary import summarise


def test_the_summary_has_mean_worst_and_losses() -> None:
    rows = [
        {"implementation": "peer", "pass": "forward", "workload": name, "ratio": ratio}
        for name, ratio in (("a", 4.0), ("b", 0.5), ("c", 4.0), ("missing", None))
    ]
    assert summarise(rows) == [
        {
            "implementation": "peer", "pass": "forward", "workloads": 3,
            "geometric_mean": pytest.approx(2.0), "mean_95": None, "worst": 0.5, "at": "b",
            "lost": 1, "unsure": 0, "°": 0,
        }
    ]  # fmt: skip
    assert summarise([]) == []


def test_the_mean_is_as_sure_as_its_rows_together() -> None:
    rows = [
        {
            "implementation": "peer", "pass": "forward", "workload": name, "median_ms": 1.0,
            "low_ms": 1.0, "high_ms": 1.0, "ratio": 2.0, "ratio_low": 2 / part,
            "ratio_high": 2 * part,
        }
        for name, part in (("a", 1.02), ("b", 1.02), ("c", 1.02), ("d", 1.2))
    ]  # fmt: skip
    (line,) = summarise(rows[:3])
    low, high = map(float, line["mean_95"].split(" … "))
    assert (low, high) == pytest.approx((2 / 1.02**3**-0.5, 2 * 1.02**3**-0.5), abs=1e-3)
    assert line["unsure"] == 0 and summarise(rows)[0]["unsure"] == 1
