"""Compile time and program size of training steps against T, and memory with and without `remat`.

The median of several compilations: what a GPU's compiler finds out once, it remembers.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

import rnn_jax
from benchmarks.case import Case, Options
from benchmarks.implementation import Prepared
from benchmarks.output import print_table
from benchmarks.peers import OURS
from benchmarks.peers.ours import build_layer
from benchmarks.workloads import CELLS, Recurrence

__all__ = ["cases", "print_rows"]

COLUMNS = (
    "workload", "implementation", "T", "compile_s", "program_bytes", "temp_bytes", "peak_bytes",
    "of_first",
)  # fmt: skip
_REMAT = f"{OURS}-remat"


def cases(options: Options) -> list[Case]:
    """Of each cell: "compile" for three lengths, "memory" for a long one."""
    batch, hidden, features = (2, 8, 4) if options.quick else (32, 256, 28)
    lengths, long, repeats = ((3, 6, 12), 50, 1) if options.quick else ((35, 350, 3500), 2000, 5)
    found = []
    for cell in CELLS if options.cells is None else options.cells:
        for length in (*lengths, long):
            workload = Recurrence(
                cell, batch, length, hidden, features,
                dtype=options.dtype, precision=options.precision,
            )  # fmt: skip
            found.append(_case(workload, "memory" if length == long else "compile", repeats))
    return found


def _case(workload: Recurrence, kind: str, repeats: int) -> Case:
    def open_case() -> Callable[[str], Prepared]:
        arrays = workload.arrays()

        def prepare(name: str) -> Prepared:
            layer = build_layer(
                workload, arrays, rnn_jax.remat if name == _REMAT else lambda layer: layer
            )
            if kind == "memory":
                return layer.prepare("forward+backward")
            # Every `prepare` compiles anew: it jits a function of its own.
            prepared = [layer.prepare("many-steps") for _ in range(repeats)]
            seconds = [p.compile_s for p in prepared if p.compile_s is not None]
            return dataclasses.replace(prepared[0], compile_s=statistics.median(seconds))

        return prepare

    names = (OURS,) if kind == "compile" else (OURS, _REMAT)
    return Case("compile", kind, workload.facts(), names, open_case, rank=3, timed=False)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """``of_first`` is a row's compile time or temporaries by those of the cell's first row."""
    for kind, value, title in (
        ("compile", "compile_s", "Training steps (20 in one call): compile time"),
        ("memory", "temp_bytes", "Forward and backward, temporaries"),
    ):
        of_kind = [row for row in rows if row["pass"] == kind and row["status"] == "ok"]
        first: dict[str, float] = {}
        for row in of_kind:
            first.setdefault(row["cell"], row[value])
        shown = [
            row | {"of_first": row[value] / first[row["cell"]] if first[row["cell"]] else None}
            for row in of_kind
        ]
        if shown:
            print(f"\n{title}\n")
            print_table(shown, COLUMNS)
