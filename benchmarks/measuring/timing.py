"""The timer: interleaved rounds until the medians are sure, quantiles, dispatch time apart."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

import numpy as np

from benchmarks.rows import LEAST_PAIRS, STEADY, near
from rnn_jax.host.intervals import median_interval, ratio_interval

__all__ = [
    "BLOCK",
    "LEAST_LONG_ROUNDS",
    "LEAST_ROUNDS",
    "LONG_S",
    "Laps",
    "Rounds",
    "dispatch_ms",
    "fastest",
    "interval",
    "percentile",
    "quartiles",
    "round_medians",
    "seconds_of",
    "take_turns",
]

# As many as a 95 % interval of a median needs.
LEAST_ROUNDS = 6
# Enough for a median, where a round alone takes longer than all of them were to.
LEAST_LONG_ROUNDS = 3
BLOCK = 3
# Beside a call this long nothing that the one before it left behind counts.
LONG_S = 1.0
# Seconds in which forms of a computation take turns: six rounds at least, three of long ones.
_CHOOSING_S = 1.0

Key = TypeVar("Key", bound=Hashable)
Clock = Callable[[], float]
Rounds = list[list[float]]  # of one implementation: the seconds of its calls, round by round


def seconds_of(call: Callable[[], object], *, clock: Clock = time.perf_counter) -> float:
    """Seconds that a call takes."""
    began = clock()
    call()
    return clock() - began


def fastest(calls: Mapping[Key, Callable[[], object]], *, clock: Clock = time.perf_counter) -> Key:
    """The key of the fastest call.

    They take turns and medians decide, so that a short disturbance does not. Where any of them
    takes longer than `LONG_S`, each is timed once. The first call, which may compile, never counts.

    Example:
      >>> ticks = iter([0.0, 2.0, 2.0, 5.0])
      >>> fastest({"a": lambda: None, "b": lambda: None}, clock=lambda: next(ticks))
      'a'
    """
    if len(calls) == 1:
        return next(iter(calls))
    for call in calls.values():
        call()
    once = {key: seconds_of(call, clock=clock) for key, call in calls.items()}
    if max(once.values()) > LONG_S:
        return min(once, key=lambda key: once[key])
    turns = take_turns(calls, 10_000, _CHOOSING_S, spread=0, block=1, clock=clock)
    return min(turns, key=lambda key: statistics.median(round_medians(turns[key])))


class Laps:
    """The seconds of each step of a call that waits for every one.

    Example:
      >>> ticks = iter([0.0, 0.5, 2.0])
      >>> laps = Laps(clock=lambda: next(ticks))
      >>> laps.start(), laps.lap(), laps.lap(), laps.seconds
      (None, None, None, [0.5, 1.5])
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        """Of no call as yet."""
        self._clock, self._last = clock, 0.0
        self.seconds: list[float] = []

    def start(self) -> None:
        """A call begins."""
        self.seconds = []
        self._last = self._clock()

    def lap(self) -> None:
        """A step is done."""
        now = self._clock()
        self.seconds.append(now - self._last)
        self._last = now


class Quartiles(TypedDict):
    """Times of a `benchmarks.rows.Row`."""

    median_ms: float
    q25_ms: float
    q75_ms: float


def quartiles(seconds: Sequence[float], steps: int = 1) -> Quartiles:
    """Median and quartiles in milliseconds a step, of calls that take ``steps`` steps each."""
    q25, median, q75 = np.percentile(np.asarray(seconds) / steps * 1e3, [25, 50, 75])
    return {"median_ms": float(median), "q25_ms": float(q25), "q75_ms": float(q75)}


def round_medians(rounds: Rounds) -> list[float]:
    """The median of each round: calls of one round are near each other, rounds are independent."""
    return [float(np.median(calls)) for calls in rounds]


def interval(
    medians: Sequence[float], beside: Sequence[float] | None = None
) -> tuple[float, float] | None:
    """The 95 % interval of the median of rounds, or of its ratio to that of the same rounds.

    None with fewer than `LEAST_PAIRS` rounds, and where one was too short for the clock.

    Example:
      >>> interval([1.0, 1.1, 0.9, 1.0, 1.2, 1.1])
      (0.9, 1.2)
    """
    if len(medians) < LEAST_PAIRS or min(medians) <= 0:
        return None
    if beside is None:
        return median_interval(medians)
    return ratio_interval(medians, beside) if min(beside, default=0) > 0 else None


def percentile(seconds: Sequence[float], percent: int) -> float | None:
    """A percentile; None where so few values were taken that the greatest would stand for it.

    Example:
      >>> percentile(range(20), 95), percentile(range(20), 99)
      (18.05, None)
    """
    if len(seconds) * (100 - percent) < 100:
        return None
    return float(np.percentile(np.asarray(seconds), percent))


def take_turns(
    calls: Mapping[Key, Callable[[], object]],
    rounds: int,
    budget_s: float,
    *,
    spread: float = STEADY,
    block: int = BLOCK,
    begins: Callable[[Key], object] = lambda name: None,
    counts: Callable[[Key], object] = lambda name: None,
    clock: Clock = time.perf_counter,
) -> dict[Key, Rounds]:
    """Seconds of every call, ``block`` a round, until the medians are sure or the bounds are met.

    They are sure where the 95 % `interval` of every call's median lies within ``spread`` of it; the
    bounds are ``rounds`` and ``budget_s``. At least `LEAST_ROUNDS`, if so many are asked for; of
    rounds that last longer than ``budget_s`` each, `LEAST_LONG_ROUNDS`.

    The first call of a turn is not clocked: for a while after a call some libraries' threads spin
    in wait for the next one, which would be charged to the neighbour. For what is left of it the
    order is another one in every round. A call longer than `LONG_S` is its whole turn. ``begins``
    is told the name before each call, and ``counts`` after each that counts.
    """
    seconds: dict[Key, Rounds] = {name: [] for name in calls}
    order, shuffle = list(calls), random.Random(0).shuffle
    began = clock()
    for done in range(rounds):
        spent = clock() - began
        least = LEAST_ROUNDS if spent <= done * budget_s else LEAST_LONG_ROUNDS
        if done >= least and (spent >= budget_s or (spread > 0 and _sure(seconds, spread))):
            break
        shuffle(order)
        for name in order:
            begins(name)
            turn = [seconds_of(calls[name], clock=clock)]
            if turn[0] > LONG_S:
                counts(name)
            else:
                turn = []
                for _ in range(block):
                    begins(name)
                    turn.append(seconds_of(calls[name], clock=clock))
                    counts(name)
            seconds[name].append(turn)
    return seconds


def _sure(seconds: Mapping[Key, Rounds], spread: float) -> bool:
    return all(
        near(interval(medians), float(np.median(medians)), spread)
        for medians in map(round_medians, seconds.values())
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
