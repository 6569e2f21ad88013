"""The timer: turns, quantiles, intervals, and the time until a call returns."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest

from benchmarks.measuring.timing import (
    BLOCK,
    LEAST_LONG_ROUNDS,
    LEAST_ROUNDS,
    LONG_S,
    dispatch_ms,
    fastest,
    interval,
    percentile,
    quartiles,
    round_medians,
    take_turns,
)
from benchmarks.rows import LEAST_PAIRS, near
from rnn_jax.recipes.reference_step import interleaved
from tests.benchmarks.clock import Clock


def test_calls_take_turns_and_each_is_clocked_alone() -> None:
    clock = Clock()
    calls = {"short": clock.lasting("short", 0.25), "long": clock.lasting("long", 2.0)}
    assert interleaved(calls, 3, clock=clock) == {"short": [0.25] * 3, "long": [2.0] * 3}
    assert clock.order == ["short", "long"] * 3


def test_quartiles_are_milliseconds_a_step() -> None:
    row = quartiles([0.5, 0.1, 0.3, 0.2, 0.4], steps=10)
    assert row == pytest.approx({"median_ms": 30, "q25_ms": 20, "q75_ms": 40})


def test_a_turn_begins_with_a_call_that_is_not_clocked_unless_it_is_long() -> None:
    clock = Clock()
    calls = {"cold": clock.lasting("cold", 9 / 16, 0.25), "long": clock.lasting("long", 2 * LONG_S)}
    seconds = take_turns(calls, 1, 0, clock=clock)
    assert seconds == {"cold": [[0.25] * BLOCK], "long": [[2 * LONG_S]]}


def test_a_form_is_chosen_by_its_median_not_by_a_call() -> None:
    clock = Clock()
    # Warm, timed once, warm again: the fourth call is the first that is clocked in a turn.
    lucky = clock.lasting("lucky", *[1 / 64] * 3, 1 / 1024, 1 / 64)
    calls = {"lucky": lucky, "steady": clock.lasting("steady", 1 / 128)}
    assert fastest(calls, clock=clock) == "steady"
    assert min(map(clock.order.count, calls)) >= 2 + 2 * LEAST_ROUNDS


@pytest.mark.parametrize("short", [LONG_S / 2, 2 * LONG_S])
def test_long_forms_are_timed_once_after_a_call_that_may_compile(short: float) -> None:
    clock = Clock()
    seconds = {"a": 3 * LONG_S, "b": short, "c": 4 * LONG_S}
    calls = {name: clock.lasting(name, 64.0, s) for name, s in seconds.items()}
    assert fastest(calls, clock=clock) == "b"
    assert clock.order == ["a", "b", "c"] * 2


def test_one_form_is_not_tried() -> None:
    assert fastest({"only": pytest.fail}) == "only"


def test_turns_end_when_the_medians_are_sure() -> None:
    # A round of half a second and one of a quarter, four times over, then quarters for ever.
    noisy = [s for seconds in (0.5, 0.25) * 4 for s in [seconds] * (BLOCK + 1)]
    for spread, least, most in ((0.0, 40, 40), (0.1, 9, 39), (9.0, LEAST_PAIRS, LEAST_PAIRS)):
        clock = Clock()
        calls = {"noisy": clock.lasting("noisy", *noisy, 0.25), "calm": clock.lasting("calm", 0.25)}
        rounds = take_turns(calls, 40, 1e9, spread=spread, clock=clock)
        assert len(rounds["calm"]) == len(rounds["noisy"])
        assert least <= len(rounds["noisy"]) <= most
        medians = round_medians(rounds["noisy"])
        assert near(interval(medians), statistics.median(medians), spread) == (spread > 0)


def test_no_interval_is_given_of_rounds_too_few_for_one() -> None:
    assert interval([1.0] * (LEAST_PAIRS - 1)) is None
    assert interval([1.0] * LEAST_PAIRS) == (1.0, 1.0)
    assert interval([0.0] * LEAST_PAIRS) is None
    assert interval([1.0] * LEAST_PAIRS, [0.0] * LEAST_PAIRS) is None
    assert interval([1.0] * LEAST_PAIRS, []) is None
    # What slows both down in a round is no error of their ratio.
    drift = [1.0, 3.0, 1.0, 2.0, 5.0, 1.0, 1.5]
    assert interval([2 * s for s in drift], drift) == (2.0, 2.0)


def test_intervals_hold_the_truth_as_often_as_they_say_although_they_end_the_rounds() -> None:
    rng, names = np.random.default_rng(0), ("slow", "fast")
    held = dict.fromkeys(("median", "ratio"), 0)
    for _ in range(100):
        clock = Clock()
        noise = rng.lognormal(0, 0.02, (2, 20))
        calls = {
            name: clock.lasting(name, *(2 * LONG_S * own).tolist())
            for name, own in zip(names, noise, strict=True)
        }
        rounds = take_turns(calls, 20, 1e9, clock=clock)
        slow, fast = (round_medians(rounds[name]) for name in names)
        for name, ends, truth in (
            ("median", interval(slow), 2 * LONG_S),
            ("ratio", interval(slow, fast), 1),
        ):
            assert ends is not None
            held[name] += ends[0] <= truth <= ends[1]
    # Of a hundred with 95 % each 95 hold it, give or take 2.2.
    assert min(held.values()) >= 91, held


def test_percentiles_need_values_beyond_them() -> None:
    assert percentile(range(19), 95) is None and percentile(range(99), 99) is None
    assert percentile(range(101), 95) == 95 and percentile(range(101), 99) == 99


def test_every_call_that_counts_is_told_of() -> None:
    clock = Clock()
    begun: list[str] = []
    told: list[str] = []
    calls = {"short": clock.lasting("short", 0.25), "long": clock.lasting("long", 2 * LONG_S)}
    take_turns(calls, 2, 0, block=5, begins=begun.append, counts=told.append, clock=clock)
    assert {name: told.count(name) for name in calls} == {"short": 2 * 5, "long": 2}
    assert {name: begun.count(name) for name in calls} == {"short": 2 * 6, "long": 2}


def test_dispatch_ends_when_the_call_returns() -> None:
    clock = Clock()
    waited: list[object] = []
    start = clock.lasting("", 0.5, 0.25)
    assert dispatch_ms(start, waited.append, 3, clock=clock) == pytest.approx(250)
    assert len(waited) == 3


def test_turns_end_at_the_rounds_or_the_budget_but_not_before_the_least() -> None:
    now, order = [0.0], []

    def call(name: str) -> Any:
        def lasting() -> None:
            order.append(name)
            now[0] += 1.0

        return lasting

    calls = {name: call(name) for name in "abc"}
    turn = BLOCK + 1  # the first call of a turn is not clocked
    lasts = 3 * turn  # a round
    bounds = (
        (2, 0, 2),
        (9, 0, LEAST_LONG_ROUNDS),
        (9, lasts - 1, LEAST_LONG_ROUNDS),
        (9, lasts, LEAST_ROUNDS),
        (12, 22 * turn, 8),
        (9, 1e9, 9),
    )
    for rounds, budget_s, done in bounds:
        order.clear()
        seconds = take_turns(calls, rounds, budget_s, spread=0, clock=lambda: now[0])
        assert seconds == {name: [[1.0] * BLOCK] * done for name in "abc"}
        assert all(len(set(order[i : i + turn])) == 1 for i in range(0, len(order), turn))
        turns = [tuple(order[i : i + 3 * turn : turn]) for i in range(0, len(order), 3 * turn)]
        assert all(sorted(names) == ["a", "b", "c"] for names in turns)
    assert len(set(turns)) > 1
