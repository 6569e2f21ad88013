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


def law(name: str, error: float | None, status: str = "ok", reason: str | None = None) -> Any:
    """Where nothing came there is no error in the row at all."""
    errors = {"largest_error": error, "allowed_error": 1e-5, "error_in": "ys"}
    why = f"wrong: its ys is off by {error}" if status == "wrong" else reason
    facts = {"group": "laws", "workload": name, "pass": "values+gradients"}
    return row(status=status, reason=why, **facts, **(errors if error is not None else {}))


def timed(median_ms: float | None, **facts: Any) -> Any:
    facts = {"group": "recurrence", "workload": "lstm-1x100x2x2", "pass": "forward"} | facts
    return row(median_ms=median_ms, **facts)


def test_it_says_what_holds_what_a_step_takes_and_what_is_left() -> None:
    rows = [
        law("lstm-1", 2e-7),
        law("gru-1", 3e-3, "wrong"),
        law("tanh-1", None, "failed", reason="RuntimeError: its process ended with -11"),
        law("relu-1", None, "out-of-memory", reason="RESOURCE_EXHAUSTED"),
        law("mgu-1", None, "unavailable", reason="no such backend"),
        law("slow-1", None, "failed", reason="again"),
        law("late-1", None, "out-of-time", reason="TimeoutError: it was ended"),
        law("slow-1", 1e-7),  # tried again
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
    # Five laws were tried, of which two hold; what failed has said nothing of its law.
    (judged,) = (line for line in lines if line[:3] == ["rnn_jax", "float32", "highest"])
    assert judged[3:6] == ["5", "2", "gru-1, values+gradients"]
    told = {line[0]: line[-2:] for line in lines if line[1:3] == ["values+gradients", "rnn_jax"]}
    assert told == {
        "gru-1": ["wrong", "wrong: its ys is off by 0.003"],
        "tanh-1": ["failed", "RuntimeError: its process ended with -11"],
        "relu-1": ["out-of-memory", "RESOURCE_EXHAUSTED"],
    }
    # Once more in detail, without what the suite's own page has besides.
    assert "# Headline" not in text and "# Roofline" not in text and "What was not run" not in text
    assert "TimeoutError: it was ended" in text
    assert "2 of 5 hold." in text
    detail = [line for line in lines if line[:1] == ["relu-1, values+gradients"]]
    assert detail == [
        ["relu-1, values+gradients", "rnn_jax", *"---", "**no**", "RESOURCE_EXHAUSTED"]
    ]
    assert ["lstm-1x100x2x2", "forward", "25.000", "10.000"] in lines
    assert ["chars", "forward", "500.000", "-"] in lines
    assert "its process ended with -9" not in text
    assert "## Not measured" in text and "the 8 minutes were over" in text
    assert left[0].case.name in text


def test_without_rows_of_a_kind_their_part_is_left_out() -> None:
    text = made_of([timed(2.5)], [], "rows.jsonl", 8)
    assert "## Laws" not in text and "## Not measured" not in text
    assert "### recurrence, float32, highest" in text
