"""Ratios of peers to rnn_jax: geometric mean, worst case, and how often it lost."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

__all__ = ["SUMMARY_COLUMNS", "summarise"]

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
