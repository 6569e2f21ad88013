"""Ratios of peers to rnn_jax: geometric mean, worst case, how often it lost, and each of them.

What is not the same work is marked, and so is what is not sure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

from benchmarks.peers import OURS
from benchmarks.reporting.tables import FORM, UNSURE, Line, cell, marks, table
from benchmarks.rows import QUIET, STEADY, Row, by, number, relative_spread, unsteady

__all__ = [
    "SIGN",
    "NotedRow",
    "by_peer",
    "criterion",
    "footnote",
    "marked",
    "noted",
    "signed",
    "summarise",
    "summary",
]

SIGN = "†"  # marks what computes other equations than ours

_COLUMNS = (
    "implementation", "pass", "workloads", "geometric_mean", "mean_95", "worst", "at", "lost",
    "unsure",
)  # fmt: skip


class NotedRow(Row):
    """A row that states whether it is of other equations than ours: ``rnn relu for rnn tanh``."""

    other: str | None


def summarise(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """One line a peer and pass over all measured rows that have a ``ratio``, peer's time by ours.

    Above 1 rnn_jax is faster; ``lost`` counts ratios below 1, and ``worst`` is the smallest, met
    ``at`` that workload. ``mean_95`` is the interval of the mean over these workloads, of rows that
    all have intervals; ``unsure`` counts rows that are `benchmarks.rows.unsteady`, and `FORM` those
    whose form was not chosen as it is now.

    Example:
      >>> row = {"implementation": "p", "pass": "forward", "workload": "w", "ratio": 2.0}
      >>> summarise([row, row | {"workload": "v", "ratio": 0.5}])[0]["geometric_mean"]
      1.0
    """
    compared = [row for row in rows if row.get("ratio") is not None]
    lines: list[Line] = []
    for (implementation, pass_name), same in by(compared, "implementation", "pass").items():
        worst = min(same, key=lambda row: number(row, "ratio"))
        logarithms = [math.log(row["ratio"]) for row in same]
        lines.append(
            {
                "implementation": implementation,
                "pass": pass_name,
                "workloads": len(same),
                "geometric_mean": math.exp(math.fsum(logarithms) / len(same)),
                "mean_95": _mean_interval(same),
                "worst": worst["ratio"],
                "at": worst["workload"],
                "lost": sum(row["ratio"] < 1 for row in same),
                "unsure": sum(map(bool, map(unsteady, same))),
                FORM: sum(bool(row.get("older_form")) for row in same),
            }
        )
    return lines


def summary(lines: list[Line], *first: str) -> str:
    """The table of lines of `summarise`, behind the columns ``first``; `FORM` where it occurs."""
    last = [FORM] if any(line[FORM] for line in lines) else []
    return table(lines, (*first, *_COLUMNS, *last))


def _mean_interval(rows: list[Mapping[str, Any]]) -> str | None:
    """The errors of different workloads are independent: their squares add up."""
    if not all(row.get("ratio_low") for row in rows):
        return None
    middle = math.fsum(math.log(row["ratio"]) for row in rows) / len(rows)
    halves = (math.log(row["ratio_high"] / row["ratio_low"]) / 2 for row in rows)
    half = math.hypot(*halves) / len(rows)
    return f"{math.exp(middle - half):.3f} … {math.exp(middle + half):.3f}"


def criterion(rows: list[NotedRow]) -> str:
    """What the marks of times mean, and how many bear each; empty without times."""
    timed = [row for row in rows if row.get("median_ms")]
    if not timed:
        return ""
    unsure = sum(map(bool, map(unsteady, timed)))
    bare = sum("low_ms" not in row for row in timed)
    part, share = f"{100 * STEADY:.0f} %", f"{100 * QUIET:.0f} %"
    quartiles = f"quartiles of single calls are {part} of the median apart or more"
    if bare == len(timed):
        sentences = [
            f"{UNSURE} marks the times, {unsure} of {len(timed)}, whose {quartiles}. The suite's "
            "criterion cannot be applied to them: neither intervals nor what others kept busy were "
            "recorded."
        ]
    else:
        sentences = [
            f"{UNSURE} marks the times, {unsure} of {len(timed)}, that miss the suite's criterion: "
            f"the 95 % intervals of a median and of its ratio are within {part} of them, and other "
            f"processes keep less than {share} of the cores busy meanwhile."
        ]
        if bare:
            sentences.append(
                f"For {bare} of these times neither was recorded: there it says that the "
                f"{quartiles}."
            )
    older = by([row for row in timed if row.get("older_form")], "older_form")
    if older:
        which = ", ".join(f"{form} ({len(same)})" for (form,), same in older.items())
        sentences.append(
            f"{FORM} marks peers' times in an older form than the suite has now, which chooses "
            "threads, unrolled steps and chunks by turns of a second, and where NumPy takes a "
            f"layer's inputs in one product: {which}. Another form may be faster."
        )
    return " ".join(sentences)


def noted(rows: list[Row]) -> list[NotedRow]:
    """Rows with "other" where the equations are not ours.

    A second bias that is only added to the first makes no difference.
    """
    ours = {_place(row): _function(row) for row in rows if row["implementation"] == OURS}
    with_notes = []
    for row in rows:
        own, other = _function(row), ours.get(_place(row))
        differs = own is not None and other is not None and own != other
        note = f"{own} for {other}" if differs else None
        with_notes.append(cast(NotedRow, {**row, "other": note}))
    return with_notes


def _place(row: Row) -> tuple[object, ...]:
    return row.get("group"), row.get("workload"), row.get("pass")


def _function(row: Row) -> str | None:
    equations = row.get("equations")
    return None if equations is None else equations.removesuffix(", two biases")


def footnote(rows: list[NotedRow], *, counted: bool = False) -> str:
    """What each marked implementation computes, and whether a mean counts it; empty for none."""
    peers = [
        f"{name} ({'; '.join(dict.fromkeys(str(row['other']) for row in own))})"
        for (name,), own in by([row for row in rows if row.get("other")], "implementation").items()
    ]
    if not peers:
        return ""
    note = f"{SIGN} Not the same work, other equations than ours: {', '.join(peers)}."
    return f"{note} These ratios are counted all the same." if counted else note


def signed(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """Lines for a table, the implementations of those with other equations marked."""
    return [
        {**row, "implementation": f"{row['implementation']} {SIGN}"}
        if row.get("other")
        else {**row}
        for row in rows
    ]


def marked(rows: list[NotedRow]) -> list[Line]:
    """`summarise`, peers with other equations marked."""
    other = {(row["implementation"], row["pass"]) for row in rows if row.get("other")}
    return signed(
        line | {"other": (line["implementation"], line["pass"]) in other}
        for line in summarise(rows)
    )


def by_peer(rows: list[NotedRow]) -> str:
    """A line a workload: our time, every peer's by it, and in milliseconds what was published."""
    names = dict.fromkeys(row["implementation"] for row in rows if row.get("ratio"))
    published = dict.fromkeys(row["implementation"] for row in rows if row.get("published_ms"))
    lines = []
    for (workload,), same in by(rows, "workload").items():
        ours = next((row for row in same if row["implementation"] == OURS), None)
        line: Line = {"workload": workload, f"{OURS}, ms": ours and cell(ours, "median_ms")}
        line |= names | dict.fromkeys(f"{name}, ms" for name in published)
        for row in same:
            if row.get("published_ms"):
                line[f"{row['implementation']}, ms"] = row["published_ms"]
            elif row.get("ratio"):
                line[row["implementation"]] = _ratio(row, ours)
        lines.append(line)
    return table(lines, tuple(lines[0]))


def _ratio(row: NotedRow, ours: NotedRow | None) -> str:
    ratio, low, high = number(row, "ratio"), row.get("ratio_low"), row.get("ratio_high")
    if low is not None and high is not None:
        text = f"{ratio:.2f} [{low:.2f}, {high:.2f}]"
    else:
        spread = math.hypot(relative_spread(row), 0.0 if ours is None else relative_spread(ours))
        text = f"{ratio:.2f} ± {ratio * spread:.2f}"
    text = f"**{text}**" if ratio < 1 else text
    return " ".join((text, *([SIGN] if row.get("other") else []), *marks(row)))
