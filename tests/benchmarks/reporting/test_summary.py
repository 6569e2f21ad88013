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
            "geometric_mean": pytest.approx(2.0), "worst": 0.5, "at": "b", "lost": 1,
        }
    ]  # fmt: skip
    assert summarise([]) == []
