"""What truncations cost: all kinds of one step take turns."""

from __future__ import annotations

from benchmarks.groups.truncation import GROUP, TRUNCATIONS
from benchmarks.measuring import runner
from benchmarks.measuring.case import Options
from benchmarks.rows import number

CHUNKED = "rnn_jax-chunked:8"


def test_every_kind_is_in_the_case_and_its_row_says_which() -> None:
    (case,) = GROUP.cases(Options(quick=True))
    assert case.implementations[0] == "rnn_jax" and CHUNKED in case.implementations
    kinds = {name: own["truncation"] for name, own in case.own.items()}
    assert tuple(kinds.values()) == TRUNCATIONS and tuple(kinds) == case.implementations


def test_a_kind_takes_turns_with_full_and_is_compared_with_it() -> None:
    (case,) = GROUP.cases(Options(quick=True))
    limits = runner.Limits(rounds=6, energy=False)
    two = case.only(("rnn_jax", CHUNKED))
    full, chunked = runner.measure(two, lambda row: None, limits=limits)
    assert (full["truncation"], full["ratio"], full["status"]) == ("full", None, "ok")
    assert (chunked["truncation"], chunked["implementation"]) == ("chunked:8", CHUNKED)
    low, ratio, high = (number(chunked, name) for name in ("ratio_low", "ratio", "ratio_high"))
    assert low <= ratio <= high
    # Of another gradient neither operations nor a share of the ceiling are known.
    assert chunked["flops"] is None and chunked["fraction_of_ceiling"] is None
