"""What truncations cost: all kinds of one step take turns."""

from __future__ import annotations

from benchmarks.groups.truncation import GROUP, TRUNCATIONS
from benchmarks.measuring import runner
from benchmarks.measuring.case import Options
from benchmarks.rows import number


def test_all_kinds_take_turns_and_are_compared_with_full() -> None:
    (case,) = GROUP.cases(Options(quick=True))
    limits = runner.Limits(rounds=6)
    full, *others = runner.measure(case, lambda row: None, limits=limits)
    assert (full["implementation"], full["truncation"], full["ratio"]) == ("rnn_jax", "full", None)
    assert [row["truncation"] for row in others] == list(TRUNCATIONS[1:])
    for row in others:
        assert row["implementation"] == f"rnn_jax-{row['truncation']}"
        low, ratio, high = (number(row, name) for name in ("ratio_low", "ratio", "ratio_high"))
        assert low <= ratio <= high
        # Of another gradient neither operations nor a share of the ceiling are known.
        assert row["flops"] is None and row["fraction_of_ceiling"] is None
        assert row["rounds_ms"] and len(row["rounds_ms"]) == len(full["rounds_ms"] or [])
