"""Compile time and memory: their rows and what is printed at the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.groups import compilation
from benchmarks.measuring import runner
from benchmarks.measuring.case import Options
from benchmarks.peers import OURS


def test_compile_time_and_memory_are_rows(capsys: pytest.CaptureFixture[str]) -> None:
    cases = compilation.GROUP.cases(Options(quick=True, cells=("rnn",)))
    rows: list[Any] = [
        row
        for case in cases
        for row in runner.measure(case, lambda row: None, limits=runner.Limits())
    ]
    assert [(row["pass"], row["T"], row["implementation"]) for row in rows] == [
        ("compile", 3, OURS),
        ("compile", 6, OURS),
        ("compile", 12, OURS),
        ("memory", 50, OURS),
        ("memory", 50, f"{OURS}-remat"),
    ]
    assert all(row["status"] == "ok" and row["compile_s"] > 0 for row in rows)
    assert rows[3]["temp_bytes"] > 0 and rows[0]["median_ms"] is None
    assert compilation.GROUP.closing is not None
    compilation.GROUP.closing(rows)
    assert "rnn-2x12x8x4 " in capsys.readouterr().out
    json.dumps(rows)
