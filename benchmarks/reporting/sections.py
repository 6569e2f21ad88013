"""Sections of the page that several groups have, and those that no single group has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from benchmarks.peers import OURS
from benchmarks.reporting import plots
from benchmarks.reporting.fits import affine_fit, slope
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import NotedRow, footnote, signed
from benchmarks.reporting.tables import UNSURE, Line, cell, table
from benchmarks.rows import by, measured, number, relative_spread, unsteady

if TYPE_CHECKING:  # a group has a section, which takes the group
    from benchmarks.group import Group

__all__ = [
    "BY_PEER", "LATENCY_COLUMNS", "OVER_ALL", "PLAIN_COLUMNS", "failures", "plain", "scaling",
    "sizes",
]  # fmt: skip

Section = Callable[["Group", list[NotedRow], Pictures], list[str]]

# How to read the table of `benchmarks.reporting.summary.summarise`.
OVER_ALL = (
    "Over all workloads that have a time: `worst` is the smallest ratio, `lost` counts those "
    "below 1, where rnn_jax was the slower one, and `unsure` those that miss the criterion. "
    "`mean_95` is the interval of the mean, as all ratios' own make it; one ratio without an "
    "interval leaves the mean without one."
)
# How to read the tables of `by_peer`.
BY_PEER = (
    "In the tables brackets hold the 95 % interval of a ratio; ± stands where there is none, "
    "which is where there were three rounds, or they were not recorded, and is one standard "
    "deviation of a single time, by the quartiles of both sides. An interval speaks for its run; "
    "by how much two runs may differ stands in the benchmarks' README. In bold what is below 1. "
    "Each ratio is to rnn_jax's time in the peer's own run; where that was another run than the "
    "one whose milliseconds stand in the line, the two need not agree."
)
PLAIN_COLUMNS = (
    "workload", "pass", "implementation", "median_ms", "ratio", "ratio_95", "value", "unit",
    "joules_per_step", "tokens_per_joule",
)  # fmt: skip
# Of groups whose steps are single tokens.
LATENCY_COLUMNS = ("latency_ms_per_token", "p95_ms", "p99_ms")
_LATENCIES = (
    "p95 and p99 are percentiles of a token's latency: of single tokens where the text says that "
    "each is handed over as soon as it is there, else of whole answers by their tokens."
)
_TRAINED = "forward+backward"
_TIMES = ("median_ms", "q25_ms", "q75_ms", "low_ms", "high_ms")
_BY_RATIO = (
    "A peer's time is its ratio times ours: where the two took turns in a run of their own, as "
    "slow peers do with a budget, the time is not the one of its row."
)
_SLOPES = (
    "The slope is that of the last two points, both axes logarithmic, and no surer than they "
    "are: a tenth more or less at one of them changes it by 0.14 where its size is twice the "
    "other's. The affine fit is over the largest range of neighbouring sizes where no time is "
    "off by more than 15 %, or by more than twice its own spread where that is larger, and never "
    "by more than 30 %."
)


def plain(columns: Sequence[str] = PLAIN_COLUMNS) -> Section:
    """A table of all of the group's rows: those of the columns that some row has a value for."""

    def section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
        succeeded = [row for row in rows if row.get("status") == "ok"]
        if not succeeded:
            return []
        lines = [
            row | {"temp_mb": row["temp_bytes"] / 1e6 if row.get("temp_bytes") else None}
            for row in signed(succeeded)
        ]
        used = [name for name in columns if any(cell(line, name) != "-" for line in lines)]
        blocks = [
            f"## {group.name.capitalize()}",
            group.caption,
            table(lines, used),
            footnote(succeeded),
        ]
        return [*blocks, _LATENCIES] if "p95_ms" in used else blocks

    return section


def scaling(axis: str) -> Section:
    """A picture of time against T, H or B, with the slopes and affine fits of all lines in it."""

    def section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
        trained = [row for row in measured(rows) if row["pass"] == _TRAINED]
        if not trained:
            return []
        trained, fixed = _beside_ours(trained), ", ".join(_fixed(trained, axis))
        lines = [_fitted(line, axis) for line in by(trained, "cell", "implementation").values()]
        draw = partial(plots.scaling, rows=trained, axis=axis, fixed=fixed)
        return [
            f"## Time against {axis}",
            f"One layer, forward and backward{fixed and f', {fixed}'}. {_BY_RATIO}",
            pictures.draw(group.name, group.caption, draw),
            pictures.once(_SLOPES),
            table(lines, tuple(lines[0])),
            footnote(trained),
        ]

    return section


def _fixed(rows: list[NotedRow], axis: str) -> list[str]:
    """The sizes beside ``axis``: ``["B = 8", "H = 128"]``, or ``D = H`` where D grows with it."""
    said = []
    for name in {"B", "T", "D", "H"} - {axis}:
        if all(row.get(name) == row.get(axis) for row in rows):
            said.append(f"{name} = {axis}")
        elif len({row.get(name) for row in rows}) == 1:
            said.append(sizes(rows[0], name))
    return sorted(filter(None, said))


def _beside_ours(rows: list[NotedRow]) -> list[NotedRow]:
    """Peers' times as their ratios times ours: not all took turns with the time of ours shown."""
    ours = {row["workload"]: row["median_ms"] for row in rows if row["implementation"] == OURS}
    drawn: list[NotedRow] = []
    for row in rows:
        ratio, beside = row.get("ratio"), ours.get(row["workload"])
        factor = ratio * beside / number(row, "median_ms") if ratio and beside else 1.0
        times = {name: value * factor for name in _TIMES if (value := cast(Any, row).get(name))}
        drawn.append(cast(NotedRow, {**row, **times}))
    return drawn


def _fitted(rows: list[NotedRow], axis: str) -> Line:
    """The line of one cell and implementation, sizes of ``axis`` in any order."""
    sizes = [number(row, axis) for row in rows]
    times = [number(row, "median_ms") for row in rows]
    # A fit holds within the uncertainty of each time on this machine. With more, any line would do.
    allowed = [min(0.3, max(0.15, 2 * relative_spread(row))) for row in rows]
    name, unsure = signed(rows)[0]["implementation"], any(map(unsteady, rows))
    steepness = slope(sizes, times)
    line: Line = {
        "cell": rows[0].get("cell"),
        "implementation": f"{name} {UNSURE}" if unsure else name,
        "slope at the end": None if steepness is None else f"{steepness:.2f}",
    }
    if axis == "H":  # no line: products take a time that grows with its square
        return line
    fit = affine_fit(sizes, times, allowed)
    return line | {
        "affine fit, ms": fit and f"{fit.fixed_ms:.3g} + {fit.each_ms:.3g} {axis}",
        "holds for": fit and f"{axis} = {fit.low:g} … {fit.high:g}",
        "off by": fit and f"{fit.error:.0%}",
    }


def failures(rows: list[NotedRow]) -> list[str]:
    """Everything that has no time, with the reason."""
    without = [row for row in rows if row.get("status") not in (None, "ok")]
    if not without:
        return []
    lines = [
        {
            "implementation": name,
            "status": status,
            "reason": reason,
            "where": f"{_count(same)} of {', '.join(sorted({r.get('group') or '' for r in same}))}",
        }
        for (name, status, reason), same in by(
            without, "implementation", "status", "reason"
        ).items()
    ]
    return ["## What has no time, and why", table(lines, tuple(lines[0]))]


def _count(rows: list[NotedRow]) -> str:
    return "1 row" if len(rows) == 1 else f"{len(rows)} rows"


def sizes(row: NotedRow, *names: str) -> str:
    """Those of the named sizes that a row has: ``V = 8,000, H = 100``."""
    return ", ".join(f"{n} = {number(row, n):,}" for n in names if row.get(n) is not None)
