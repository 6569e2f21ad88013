"""Ratios of peers to rnn_jax: geometric mean, worst case, how often it lost, and each of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from benchmarks.peers import OURS
from benchmarks.result_files import Row, by, relative_spread
from benchmarks.tables import table

__all__ = [
    "SIGN",
    "SUMMARY_COLUMNS",
    "by_peer",
    "footnote",
    "marked",
    "noted",
    "signed",
    "summarise",
]

SIGN = "†"  # of what computes other equations than ours

SUMMARY_COLUMNS = ("implementation", "pass", "workloads", "geometric_mean", "worst", "at", "lost")


def summarise(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a peer and pass over all measured rows that have a ``ratio``, peer's time by ours.

    Above 1 rnn_jax is faster; ``lost`` counts ratios below 1, and ``worst`` is the smallest, met
    ``at`` that workload.

    Example:
      >>> row = {"implementation": "p", "pass": "forward", "workload": "w", "ratio": 2.0}
      >>> summarise([row, row | {"workload": "v", "ratio": 0.5}])[0]["geometric_mean"]
      1.0
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row.get("ratio") is not None:
            groups.setdefault((row["implementation"], row["pass"]), []).append(row)
    summary = []
    for (implementation, pass_name), group in groups.items():
        worst = min(group, key=lambda row: row["ratio"])
        logarithms = [math.log(row["ratio"]) for row in group]
        summary.append(
            {
                "implementation": implementation,
                "pass": pass_name,
                "workloads": len(group),
                "geometric_mean": math.exp(math.fsum(logarithms) / len(group)),
                "worst": worst["ratio"],
                "at": worst["workload"],
                "lost": sum(row["ratio"] < 1 for row in group),
            }
        )
    return summary


def noted(rows: list[Row]) -> list[Row]:
    """Rows with "other" where the equations are not ours: ``rnn relu for rnn tanh``.

    A second bias that is only added to the first makes no other function.
    """
    where = ("group", "workload", "pass")
    ours = {
        tuple(row.get(name) for name in where): _function(row)
        for row in rows
        if row["implementation"] == OURS
    }
    found = []
    for row in rows:
        own, other = _function(row), ours.get(tuple(row.get(name) for name in where))
        differs = own is not None and other is not None and own != other
        found.append(row | {"other": f"{own} for {other}" if differs else None})
    return found


def _function(row: Row) -> str | None:
    equations = row.get("equations")
    return None if equations is None else str(equations).removesuffix(", two biases")


def footnote(rows: list[Row], *, counted: bool = False) -> str:
    """What each marked implementation computes, and whether a mean counts it; empty for none."""
    peers = [
        f"{name} ({'; '.join(dict.fromkeys(row['other'] for row in of))})"
        for (name,), of in by([row for row in rows if row.get("other")], "implementation").items()
    ]
    if not peers:
        return ""
    says = f"{SIGN} Not the same work, other equations than ours: {', '.join(peers)}."
    return f"{says} These ratios are counted all the same." if counted else says


def signed(rows: list[Row]) -> list[Row]:
    """Rows, the implementations of those with other equations marked."""
    return [
        row | {"implementation": f"{row['implementation']} {SIGN}"} if row.get("other") else row
        for row in rows
    ]


def marked(rows: list[Row]) -> list[Row]:
    """`summarise`, peers with other equations marked."""
    other = {(row["implementation"], row["pass"]) for row in rows if row.get("other")}
    return signed(
        [r | {"other": (r["implementation"], r["pass"]) in other} for r in summarise(rows)]
    )


def by_peer(rows: list[Row]) -> str:
    """A line a workload: our time, every peer's by it, and in milliseconds what was published."""
    names = dict.fromkeys(row["implementation"] for row in rows if row.get("ratio"))
    published = dict.fromkeys(row["implementation"] for row in rows if row.get("published_ms"))
    lines = []
    for (workload,), of in by(rows, "workload").items():
        ours = next((row for row in of if row["implementation"] == OURS), None)
        line: dict[str, Any] = {"workload": workload, f"{OURS}, ms": ours and ours["median_ms"]}
        line |= names | dict.fromkeys(f"{name}, ms" for name in published)
        for row in of:
            if row.get("published_ms"):
                line[f"{row['implementation']}, ms"] = row["published_ms"]
            elif row.get("ratio"):
                line[row["implementation"]] = _ratio(row, ours)
        lines.append(line)
    return table(lines, tuple(lines[0]))


def _ratio(row: Row, ours: Row | None) -> str:
    spread = math.hypot(relative_spread(row), 0.0 if ours is None else relative_spread(ours))
    text = f"{row['ratio']:.2f} ± {row['ratio'] * spread:.2f}"
    text = f"**{text}**" if row["ratio"] < 1 else text
    return f"{text} {SIGN}" if row.get("other") else text
