"""The clocked part of a case: its implementations and the control in turns, and what that makes."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jax

from benchmarks.measuring.case import Case
from benchmarks.measuring.control import CONTROL, control
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.timing import (
    BLOCK,
    LONG_S,
    Rounds,
    dispatch_ms,
    interval,
    percentile,
    quartiles,
    round_medians,
    take_turns,
)
from benchmarks.rows import STEADY, Row

__all__ = ["Limits", "compare_with", "time_in_turns"]

# A hundred calls in twenty rounds, of which the 99th percentile can be told.
_LATENCY_BLOCK = 5
# A process that only waits for another takes less of the processor than this part of the time.
_OURS = 0.01


@dataclass(frozen=True)
class Limits:
    """When a case has been timed enough: rounds, seconds, or medians that are this sure.

    spread: the part of each median within which its 95 % interval is to lie.
    wait_s: seconds at most before each case until the machine is quiet.
    left_s: seconds from the beginning of the case after which no peer is prepared.
    energy: whether it is counted, in calls of their own, with what ``case_s`` and ``left_s`` leave.
    """

    rounds: int = 20
    case_s: float = 20.0
    spread: float = STEADY
    wait_s: float = field(default=0.0, kw_only=True)
    left_s: float = field(default=float("inf"), kw_only=True)
    energy: bool = field(default=True, kw_only=True)


def time_in_turns(
    case: Case,
    rows: dict[str, Row],
    ready: dict[str, Prepared],
    failures: dict[str, BaseException],
    limits: Limits,
) -> None:
    """Set the times of all rows whose implementation is ready.

    One that raises goes from ``ready`` to ``failures``, and the others go on.
    """

    def guarded(name: str) -> Callable[[], object]:
        def call() -> object:
            if name in failures:
                return None
            try:
                return ready[name].call()
            except Exception as error:
                failures[name] = error.with_traceback(None)
                del ready[name]  # what it holds on the device is for the others now
                return None

        return call

    calls = {name: guarded(name) for name in ready} | {CONTROL: control()}
    laps: dict[str, list[float]] = {name: [] for name in calls}
    worked: dict[str, list[float]] = {name: [] for name in calls}
    began = 0.0

    def begins(name: str) -> None:
        nonlocal began
        began = time.process_time()

    def counts(name: str) -> None:
        worked[name].append(time.process_time() - began)
        taken = ready[name].laps if name in ready else None
        if taken is not None:
            laps[name] += taken()

    seconds = take_turns(
        calls,
        limits.rounds,
        limits.case_s,
        spread=limits.spread,
        block=_LATENCY_BLOCK if case.latency else BLOCK,
        begins=begins,
        counts=counts,
    )
    beside = _medians_ms(seconds[CONTROL])
    beside_cpu = _processor_ms(seconds.pop(CONTROL), worked[CONTROL])
    for name, rounds in seconds.items():
        if name in failures:
            continue
        prepared, row = ready[name], rows[name]
        taken = [s for calls in rounds for s in calls]
        times, medians = quartiles(taken, prepared.steps), _medians_ms(rounds, prepared.steps)
        low, high = interval(medians) or (None, None)
        row |= {
            "median_ms": statistics.median(medians),
            "low_ms": low,
            "high_ms": high,
            "q25_ms": times["q25_ms"],
            "q75_ms": times["q75_ms"],
            "calls": len(taken),
            "rounds_ms": medians,
            "control_ms": statistics.median(beside),
            "cpu_rounds_ms": _processor_ms(rounds, worked[name], prepared.steps),
            "control_rounds_ms": beside,
            "control_cpu_rounds_ms": beside_cpu,
        }
        if case.latency:
            each = laps[name] or [s / prepared.steps for s in taken]
            in_ms = [s * 1e3 for s in each]
            row |= {
                "p95_ms": percentile(in_ms, 95),
                "p99_ms": percentile(in_ms, 99),
                "latencies": len(in_ms),
            }
        # Beside a long call it does not count, and would take five more of them. The times stand,
        # whatever becomes of it.
        if prepared.start is not None and statistics.median(taken) < LONG_S:
            with contextlib.suppress(Exception):
                row["dispatch_ms"] = dispatch_ms(prepared.start, prepared.wait)


def _medians_ms(rounds: Rounds, steps: int = 1) -> list[float]:
    """Milliseconds a step, to the digits that a row has."""
    return [float(f"{s / steps * 1e3:.6g}") for s in round_medians(rounds)]


def _processor_ms(rounds: Rounds, worked: list[float], steps: int = 1) -> list[float] | None:
    """As `_medians_ms`, of processor time; None where an accelerator or another process works."""
    total = sum(map(sum, rounds))
    if jax.default_backend() != "cpu" or sum(worked) < _OURS * total:
        return None
    left = iter(worked)
    return _medians_ms([[next(left) for _ in calls] for calls in rounds], steps)


def compare_with(ours: Row, row: Row) -> None:
    """Set the row's ratio to ours and its interval, where both have a time."""
    if row["median_ms"] and ours["median_ms"]:
        row["ratio"] = row["median_ms"] / ours["median_ms"]
        ends = interval(row["rounds_ms"] or [], ours["rounds_ms"] or [])
        row["ratio_low"], row["ratio_high"] = ends or (None, None)
