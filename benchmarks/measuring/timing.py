"""The timer: interleaved rounds until the quartiles are near each other, dispatch time apart."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from rnn_jax.recipes.reference_step import interleaved

__all__ = [
    "BLOCK",
    "LEAST_ROUNDS",
    "LONG_S",
    "dispatch_ms",
    "first_call",
    "quartiles",
    "take_turns",
]

LEAST_ROUNDS = 3
BLOCK = 3
# Beside a call this long nothing that the one before it left behind counts.
LONG_S = 1.0

Clock = Callable[[], float]


def first_call(call: Callable[[], object]) -> float:
    """Seconds of a call that compiles."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


class Quartiles(TypedDict):
    """Times of a `benchmarks.rows.Row`."""

    median_ms: float
    q25_ms: float
    q75_ms: float


def quartiles(seconds: Sequence[float], steps: int = 1) -> Quartiles:
    """Median and quartiles in milliseconds a step, of calls that take ``steps`` steps each."""
    q25, median, q75 = np.percentile(np.asarray(seconds) / steps * 1e3, [25, 50, 75])
    return {"median_ms": float(median), "q25_ms": float(q25), "q75_ms": float(q75)}


def take_turns(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    budget_s: float,
    *,
    spread: float = 0.0,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every call, `BLOCK` a round, until they agree or the bounds are met.

    They agree where every call's interquartile range is below ``spread`` times its median; the
    bounds are ``rounds`` and ``budget_s``. At least `LEAST_ROUNDS`, if so many are asked for.

    The first call of a turn is not clocked: for a while after a call some libraries' threads spin
    in wait for the next one, which would be charged to the neighbour. For what is left of it the
    order is another one in every round. A call longer than `LONG_S` is its whole turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order, shuffle = list(calls), random.Random(0).shuffle
    began = clock()
    for done in range(rounds):
        if done >= LEAST_ROUNDS and (clock() - began >= budget_s or _agree(seconds, spread)):
            break
        shuffle(order)
        for name in order:
            first = interleaved({name: calls[name]}, 1, clock=clock)[name]
            if first[0] <= LONG_S:
                first = interleaved({name: calls[name]}, BLOCK, clock=clock)[name]
            seconds[name] += first
    return seconds


def _agree(seconds: Mapping[str, Sequence[float]], spread: float) -> bool:
    return all(
        row["q75_ms"] - row["q25_ms"] < spread * row["median_ms"]
        for row in map(quartiles, seconds.values())
    )


def dispatch_ms(
    start: Callable[[], Any],
    wait: Callable[[Any], object],
    repeats: int = 5,
    *,
    clock: Clock = time.perf_counter,
) -> float:
    """Median milliseconds until ``start()`` returns, its work going on; ``wait`` is for its end.

    Example:
      >>> ticks = iter([0.0, 0.002, 1.0, 1.004, 2.0, 2.003])
      >>> dispatch_ms(lambda: None, lambda result: None, 3, clock=lambda: next(ticks))
      3.0
    """
    seconds = []
    for _ in range(repeats):
        began = clock()
        result = start()
        seconds.append(clock() - began)
        wait(result)
    return quartiles(seconds)["median_ms"]
