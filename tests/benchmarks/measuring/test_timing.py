"""The timer: turns, quartiles and the time until a call returns."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.measuring.timing import (
    BLOCK,
    LEAST_ROUNDS,
    LONG_S,
    dispatch_ms,
    quartiles,
    take_turns,
)
from rnn_jax.recipes.reference_step import (
    interleaved,
)
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
    assert seconds == {"cold": [0.25] * BLOCK, "long": [2 * LONG_S]}


def test_turns_end_when_the_quartiles_are_near() -> None:
    turn = BLOCK + 1
    noisy = [0.25, 0.5] * turn * 2  # four rounds of noise, then none
    for spread, rounds in ((0.0, 20), (0.5, 10), (9.0, LEAST_ROUNDS)):
        clock = Clock()
        calls = {"noisy": clock.lasting("noisy", *noisy, 0.25), "calm": clock.lasting("calm", 0.25)}
        seconds = take_turns(calls, 20, 1e9, spread=spread, clock=clock)
        assert len(seconds["calm"]) == len(seconds["noisy"])
        if spread != 0.5:
            assert len(seconds["noisy"]) == rounds * BLOCK
        else:
            row = quartiles(seconds["noisy"])
            assert row["q75_ms"] - row["q25_ms"] < spread * row["median_ms"]
            assert LEAST_ROUNDS * BLOCK < len(seconds["noisy"]) < 20 * BLOCK


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
    for rounds, budget_s, done in ((2, 0, 2), (9, 0, LEAST_ROUNDS), (9, 13 * turn, 5), (4, 1e9, 4)):
        order.clear()
        seconds = take_turns(calls, rounds, budget_s, clock=lambda: now[0])
        assert seconds == {name: [1.0] * done * BLOCK for name in "abc"}
        assert all(len(set(order[i : i + turn])) == 1 for i in range(0, len(order), turn))
        turns = [tuple(order[i : i + 3 * turn : turn]) for i in range(0, len(order), 3 * turn)]
        assert all(sorted(names) == ["a", "b", "c"] for names in turns)
    assert len(set(turns)) > 1
