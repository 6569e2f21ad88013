"""The roofline: rows held against the ceilings of their machine, and the picture of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from benchmarks.measuring.flops import Cost
from benchmarks.measuring.layers import TRAINED
from benchmarks.measuring.roofline import Roofline
from benchmarks.peers import OURS
from benchmarks.reporting import plots
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import NotedRow
from benchmarks.rows import number

__all__ = ["ABOVE", "held_against", "roofline"]

ABOVE = "‡"  # marks what is above its ceiling
_NONE = (
    "No ceilings stand among these rows. Those that older rows state were timed into fresh memory, "
    "where page faults take most of the time, and are left out: there is no roofline."
)


def held_against(ceilings: Roofline | None, rows: list[NotedRow]) -> list[NotedRow]:
    """The rows with their share of these ceilings; with none where there are no ceilings."""
    judged = []
    for row in rows:
        bound = fraction = None
        if ceilings is not None and row.get("gflops_per_s") and row.get("bytes"):
            bound = ceilings.bound(Cost(number(row, "flops"), number(row, "bytes")))
            fraction = number(row, "gflops_per_s") / bound
        shares = {"ceiling_gflops_per_s": bound, "fraction_of_ceiling": fraction}
        judged.append(cast(NotedRow, {**row, **shares}))
    return judged


def roofline(rows: Iterable[NotedRow], ceilings: Roofline | None, pictures: Pictures) -> list[str]:
    """The training passes among these rows, under the ceilings of their machine."""
    points = [
        row
        for row in rows
        if row.get("gflops_per_s") and row.get("bytes") and row["pass"] == TRAINED
    ]
    if not points:
        return []
    if ceilings is None:
        return ["## Roofline", _NONE]
    best = max((r for r in points if r["implementation"] == OURS), key=_fraction, default=None)
    nearest = (
        "" if best is None else f" rnn_jax is nearest at {best['workload']}: {_fraction(best):.0%}."
    )
    return [
        "## Roofline",
        "Operations of the matrix products against bytes that no implementation avoids, weights "
        "read once. The solid line is the best product and the bandwidth of memory, the dashed one "
        "the bandwidth of the fastest cache, which holds for layers that fit into it. What "
        "fetches its weights anew in every step, or waits for the step before, stays below."
        f"{nearest}",
        pictures.draw(
            "roofline",
            "roofline",
            lambda path: plots.roofline(path, points, ceilings, "forward and backward"),
        ),
        _footnote(points),
    ]


def _footnote(points: list[NotedRow]) -> str:
    above = [row for row in points if _fraction(row) > 1]
    if not above:
        return "Nothing is above its ceiling."
    names = (f"{r['implementation']} at {r['workload']} ({_fraction(r):.2f})" for r in above)
    return (
        f"{ABOVE} Above its ceiling, which is that of the fastest library tried and not of the "
        f"machine: {', '.join(names)}."
    )


def _fraction(row: NotedRow) -> float:
    return float(row.get("fraction_of_ceiling") or 0)
