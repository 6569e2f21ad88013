"""The roofline: rows held against the ceilings of their machine, and the picture of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from benchmarks.measuring.layers import TRAINED
from benchmarks.measuring.roofline import Roofline
from benchmarks.peers import OURS
from benchmarks.reporting import plots
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import NotedRow

__all__ = ["ABOVE", "roofline"]

ABOVE = "‡"  # marks what is above its ceiling
_OLDER = (
    "Left out: {} of an older run, whose ceilings do not hold, for its copies were timed into "
    "fresh memory, where page faults take most of the time."
)


def roofline(rows: Iterable[NotedRow], ceilings: Roofline | None, pictures: Pictures) -> list[str]:
    """The training passes among these rows, each under the ceilings that it carries.

    The lines in the picture are ``ceilings``, those that were measured last.
    """
    trained = [row for row in rows if row.get("gflops_per_s") and row["pass"] == TRAINED]
    points = [row for row in trained if row.get("ceiling_gflops_per_s")]
    if not trained:
        return []
    older = len(trained) - len(points)
    note = _OLDER.format("1 row" if older == 1 else f"{older} rows") if older else ""
    if ceilings is None or not points:
        return ["## Roofline", note]
    ours = max((r for r in points if r["implementation"] == OURS), key=_fraction, default=None)
    best = max(points, key=_fraction)
    nearest = ""
    if ours is not None:
        other = "" if best is ours else f", and of all {best['implementation']} at {_at(best)}"
        nearest = f" rnn_jax is nearest at {_at(ours)}{other}."
    return [
        "## Roofline",
        "Forward and backward: operations of the matrix products against bytes that no "
        "implementation avoids, weights read once. The solid line is the best product and the "
        "bandwidth of memory, the dashed one the bandwidth of the fastest cache, which holds for "
        "layers that fit into it. Both lines are of the ceilings that were measured last; a "
        "percentage is of those that its row carries, which may be others. What fetches its "
        "weights anew in every step, or waits for the step before, stays below."
        f"{nearest}",
        pictures.draw(
            "roofline",
            "roofline",
            partial(plots.roofline, rows=points, ceilings=ceilings, title="forward and backward"),
        ),
        _footnote(points),
        note,
    ]


def _footnote(points: list[NotedRow]) -> str:
    above = [row for row in points if _fraction(row) > 1]
    if not above:
        return "Nothing is above its ceiling."
    names = (f"{r['implementation']} at {r['workload']} ({_fraction(r):.2f})" for r in above)
    return (
        f"{ABOVE} Above its ceiling: {', '.join(names)}. Either the machine was slower while the "
        "ceilings were measured, or a library's product is faster than those of XLA and NumPy."
    )


def _at(row: NotedRow) -> str:
    return f"{row['workload']} ({_fraction(row):.0%})"


def _fraction(row: NotedRow) -> float:
    return float(row.get("fraction_of_ceiling") or 0)
