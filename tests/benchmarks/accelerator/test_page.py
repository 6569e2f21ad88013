"""The page of an accelerator: what it counts, which laws do not hold, what is left."""

from __future__ import annotations

from typing import Any

from benchmarks.accelerator.page import made_of
from benchmarks.accelerator.plan import plan
from benchmarks.rows import Row

EMPTY = dict.fromkeys(Row.__required_keys__) | {
    "dtype": "float32", "precision": "highest", "device": "NVIDIA H100", "platform": "gpu",
    "device_count": 1, "processor": "a CPU", "cpu_count": 8, "machine": "x86_64",
    "python": "3.12.1", "jax": "0.12.0", "numpy": "2.4", "commit": "c0ffee", "B": 1, "T": 100,
    "versions": {"jaxlib": "0.12.0"}, "date": "2026-12-01T10:00:00+00:00", "status": "ok",
    "implementation": "rnn_jax", "driver_version": "580.1",
}  # fmt: skip


def row(**facts: Any) -> Any:
    return EMPTY | facts


def law(name: str, error: float, status: str = "ok") -> Any:
    return row(
        group="laws", workload=name, largest_error=error, allowed_error=1e-5, error_in="ys",
        status=status, reason=f"wrong: its ys is off by {error}" if status == "wrong" else None,
        **{"pass": "values+gradients"},
    )  # fmt: skip


def timed(median_ms: float | None, **facts: Any) -> Any:
    facts = {"group": "recurrence", "workload": "lstm-1x100x2x2", "pass": "forward"} | facts
    return row(median_ms=median_ms, **facts)


def test_it_says_what_holds_what_a_step_takes_and_what_is_left() -> None:
    rows = [
        law("lstm-1", 2e-7),
        law("gru-1", 3e-3, "wrong"),
        timed(None, status="failed", reason="RuntimeError: its process ended with -9"),
        timed(2.5),  # measured again
        timed(1.0, implementation="torch"),
        timed(0.5, workload="chars", latency_ms_per_token=0.5),
    ]
    left = plan(True)[-3:]
    text = made_of(rows, left, "rows.jsonl", 8)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert text.startswith("# NVIDIA H100\n") and "A dry run" not in text
    assert ["driver_version", "580.1"] in lines and ["jaxlib", "0.12.0"] in lines
    # Two laws were judged, of which one holds.
    (judged,) = (line for line in lines if line[:3] == ["rnn_jax", "float32", "highest"])
    assert judged[3:5] == ["2", "1"] and "- gru-1, values+gradients: wrong: its ys is" in text
    assert ["lstm-1x100x2x2", "forward", "25.000", "10.000"] in lines
    assert ["chars", "forward", "500.000", "-"] in lines
    assert "its process ended" not in text
    assert "## Not measured" in text and "the 8 minutes were over" in text
    assert left[0].case.name in text


def test_without_rows_of_a_kind_their_part_is_left_out() -> None:
    text = made_of([timed(2.5)], [], "rows.jsonl", 8)
    assert "## Laws" not in text and "## Not measured" not in text
    assert "### recurrence, float32, highest" in text
