"""By how much a row's time changed between two runs, and how sure that is.

On a quiet machine a program's time is that of its rounds. Beside other processes it is mostly
theirs: at a load of four on two cores a call of a tenth of a millisecond takes that, or four
milliseconds more, or twelve. For how long it keeps the processor busy is nearly the same all the
while, so that this is compared where one of the two runs was disturbed and row and control both
have it. It does not tell that work waits, or is spread over fewer cores.

What is the machine's is taken off: what the witnesses of a case moved by in the median. They are
the control, and the others that took turns with it, where there are two of them; one alone may
itself have changed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from benchmarks.peers import OURS, is_ours
from benchmarks.rows import LEAST_PAIRS, QUIET, Row, number, relative_spread

__all__ = ["Estimate", "changes_of", "disturbed"]

_RESAMPLES = 200
_PROCESSOR = "cpu_rounds_ms"
_CASE = ("group", "workload", "pass", "precision")
# The error of a median by that of a mean, of normal deviations.
_MEDIAN = math.sqrt(math.pi / 2)


class Estimate(NamedTuple):
    """A change as a logarithm and its standard deviation; whether it is of processor time."""

    log: float
    error: float
    by_processor: bool = False


def disturbed(row: Mapping[str, Any]) -> bool:
    """Whether other processes took more of the cores than the suite's criterion allows."""
    return (row.get("busy_share") or 0.0) >= QUIET


def changes_of(pairs: Sequence[tuple[Row, Row]], *, by_peers: bool = True) -> list[Estimate]:
    """Of each old and new row, by the witnesses of its case; of all rows of two runs.

    Args:
      pairs: the same row of the earlier and of the later run.
      by_peers: whether peers are witnesses, too, or the control alone.

    Example:
      >>> old = {"implementation": "rnn_jax", "median_ms": 2.0, "control_ms": 1.0}
      >>> changes_of([(old, old | {"median_ms": 3.0, "control_ms": 1.5})])
      [Estimate(log=0.0, error=0.0, by_processor=False)]
    """
    cases: dict[tuple[Any, ...], list[int]] = {}
    for index, (_, new) in enumerate(pairs):
        cases.setdefault(tuple(new.get(name) for name in _CASE), []).append(index)
    changes = []
    for index, (old, new) in enumerate(pairs):
        by_processor = _by_processor(old, new)
        same = cases[tuple(new.get(name) for name in _CASE)] if by_peers else ()
        witnesses = [pairs[i] for i in same if i != index and _witness(pairs[i][1], new)]
        if by_processor:
            witnesses = [pair for pair in witnesses if _have(pair, _PROCESSOR)]
        own, control = (_moved(old, new, by_processor, whose) for whose in ("", "control_"))
        others = [_moved(*pair, by_processor) for pair in witnesses]
        beside = _median([*others, control] if len(others) > 1 else [control])
        error = math.hypot(own.error, beside.error)
        changes.append(Estimate(own.log - beside.log, error, by_processor))
    return changes


def _witness(row: Mapping[str, Any], of: Mapping[str, Any]) -> bool:
    """Peers are witnesses of all, and ours of peers; variants of ours change together."""
    name, judged = row["implementation"], of["implementation"]
    return not is_ours(name) or (name == OURS and not is_ours(judged))


def _median(changes: list[Estimate]) -> Estimate:
    size, errors = len(changes), [change.error for change in changes]
    error = math.hypot(*errors) / size * (_MEDIAN if size > 1 else 1)
    return Estimate(statistics.median(change.log for change in changes), error)


def _by_processor(old: Row, new: Row) -> bool:
    """Whether a row's change is of processor time: then its control's and its peers' are, too.

    The wall moves where the processor's time does not, and the one is no witness of the other.
    """
    one_disturbed = disturbed(old) or disturbed(new)
    return one_disturbed and all(
        _have((old, new), whose + _PROCESSOR) for whose in ("", "control_")
    )


def _have(rows: tuple[Row, Row], name: str) -> bool:
    return all(len(cast(Any, row).get(name) or ()) >= LEAST_PAIRS for row in rows)


def _moved(old: Row, new: Row, by_processor: bool, whose: str = "") -> Estimate:
    """By the rounds where both rows have enough of them, else by the medians.

    The error of a median without its rounds is taken to be that of a single call.
    """
    rows, name = (old, new), whose + (_PROCESSOR if by_processor else "rounds_ms")
    if _have(rows, name):
        first, second = (_by_rounds(cast(Any, row)[name]) for row in rows)
    else:
        first, second = (_control(row) if whose else _by_median(row) for row in rows)
    return Estimate(second.log - first.log, math.hypot(first.error, second.error))


def _by_median(row: Mapping[str, Any]) -> Estimate:
    return Estimate(math.log(number(row, "median_ms")), relative_spread(row))


def _control(row: Mapping[str, Any]) -> Estimate:
    return Estimate(math.log(row.get("control_ms") or 1.0), 0.0)


def _by_rounds(rounds: list[float]) -> Estimate:
    """By the lower quartile, for whatever disturbs makes a call longer and never shorter."""
    logs = np.log(np.maximum(rounds, 1e-9))
    count = len(logs)
    drawn = np.random.default_rng(0).integers(0, count, (_RESAMPLES, count))

    def quartile(logs: np.ndarray) -> Any:
        return np.sort(logs)[..., (count - 1) // 4]

    low, high = np.percentile(quartile(logs[drawn]), [16, 84])
    return Estimate(float(quartile(logs)), float(high - low) / 2)
