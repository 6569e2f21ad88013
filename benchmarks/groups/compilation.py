"""Compile time and program size of training steps against T, and memory with and without `remat`.

A time is the median of several compilations, for a GPU's compiler remembers what it has tuned.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable

import rnn_jax
from benchmarks.group import COLUMNS, Group
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.layers import OF, TRAINED
from benchmarks.measuring.workloads import CELLS, Recurrence
from benchmarks.peers import OURS
from benchmarks.peers.ours import build_layer
from benchmarks.reporting.sections import plain
from benchmarks.reporting.tables import Line, table
from benchmarks.rows import Row, by, number

__all__ = ["GROUP"]

_CLOSING_COLUMNS = (
    "workload", "implementation", "T", "compile_s", "program_bytes", "temp_bytes", "peak_bytes",
    "of_first",
)  # fmt: skip
_REMAT = f"{OURS}-remat"
_COMPILED, _MEMORY = "compile", "memory"  # the passes
_PASSES = {_COMPILED: "many-steps", _MEMORY: TRAINED}  # and what of a layer each compiles


def _cases(options: Options) -> list[Case]:
    """Each cell at three lengths, which are compiled, and at a long one, for its memory."""
    batch, hidden, features = (2, 8, 4) if options.quick else (32, 256, 28)
    lengths, long, repeats = ((3, 6, 12), 50, 1) if options.quick else ((35, 350, 3500), 2000, 5)
    cases = []
    for cell in CELLS if options.cells is None else options.cells:
        for length in (*lengths, long):
            workload = Recurrence(
                cell, batch, length, hidden, features,
                dtype=options.dtype, precision=options.precision,
            )  # fmt: skip
            cases.append(_case(workload, _MEMORY if length == long else _COMPILED, repeats))
    return cases


def _case(workload: Recurrence, kind: str, repeats: int) -> Case:
    def open_case() -> Callable[[str], Prepared]:
        arrays = workload.arrays()

        def prepare(name: str) -> Prepared:
            layer = build_layer(
                workload, arrays, rnn_jax.remat if name == _REMAT else lambda layer: layer
            )
            if kind == _MEMORY:
                return layer.prepare(_PASSES[kind])
            # Every `prepare` compiles anew: it jits a function of its own.
            prepared = [layer.prepare(_PASSES[kind]) for _ in range(repeats)]
            seconds = [p.compile_s for p in prepared if p.compile_s is not None]
            return dataclasses.replace(prepared[0], compile_s=statistics.median(seconds))

        return prepare

    names = (OURS,) if kind == _COMPILED else (OURS, _REMAT)
    return Case(
        GROUP.name,
        kind,
        workload.facts(),
        names,
        open_case,
        rank=3,
        timed=False,
        of=OF[_PASSES[kind]],
    )


def _closing(rows: list[Row]) -> None:
    """Print two tables; ``of_first`` is what a row takes by what its cell's first row takes."""
    for kind, name, title in (
        (_COMPILED, "compile_s", "Training steps (20 in one call): compile time"),
        (_MEMORY, "temp_bytes", "Forward and backward, temporaries"),
    ):
        lines: list[Line] = []
        succeeded = [row for row in rows if row["pass"] == kind and row["status"] == "ok"]
        for same in by(succeeded, "cell").values():
            first = number(same[0], name)
            lines += [
                {**row, "of_first": number(row, name) / first if first else None} for row in same
            ]
        if lines:
            print(f"\n{title}\n")
            print(table(lines, _CLOSING_COLUMNS))


GROUP = Group(
    "compile",
    _cases,
    COLUMNS,
    "`compile`: the time to compile 20 training steps as one program, the median of several. "
    "`memory`: a forward and backward pass alone, and its temporaries with `remat` and without.",
    plain(("workload", "pass", "implementation", "T", "compile_s", "temp_mb")),
    closing=_closing,
)
