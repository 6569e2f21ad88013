"""``python -m benchmarks compile``: compile time of training steps against T, memory with remat."""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import rnn_jax
from benchmarks.implementation import JaxImplementation
from benchmarks.output import print_table, row_writer
from benchmarks.peers import OURS, versions
from benchmarks.peers.ours import build_layer
from benchmarks.timing import environment
from benchmarks.workloads import CELLS, Recurrence

__all__ = ["add_arguments", "measure", "run"]

COLUMNS = ("workload", "implementation", "T", "compile_s", "temp_bytes", "of_first")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--out", metavar="FILE", help="write rows to a new file of JSON lines")
    parser.add_argument("--quick", action="store_true", help="a try-out: one repeat, small shapes")


def run(options: argparse.Namespace) -> None:
    """Measure every cell, print the table, save each row."""
    rows: list[dict[str, Any]] = []
    write = row_writer(options.out)
    for cell in CELLS:
        new = measure(cell, quick=options.quick)
        for row in new:
            write(row)
        rows += new
    for pass_name, title in (
        ("compile", "Training steps (20 in one call): compile time"),
        ("memory", "Forward and backward, temporaries"),
    ):
        print(f"\n{title}\n")
        print_table([row for row in rows if row["pass"] == pass_name], COLUMNS)


def measure(cell: str, *, quick: bool) -> list[dict[str, Any]]:
    """Rows of pass "compile" for three lengths, then of "memory" without and with `remat`.

    ``of_first`` is a row's compile time or temporaries by those of the first row of its kind.
    """
    batch, hidden, features = (2, 8, 4) if quick else (32, 256, 28)
    lengths, long, repeats = ((3, 6, 12), 50, 1) if quick else ((35, 350, 3500), 2000, 5)
    rows: list[dict[str, Any]] = []
    for length in lengths:
        workload = Recurrence(cell, batch, length, hidden, features)
        plain = build_layer(workload, workload.arrays(), lambda layer: layer)
        rows.append(_row(workload, plain, OURS, "compile", "many-steps", repeats))
    workload = Recurrence(cell, batch, long, hidden, features)
    arrays = workload.arrays()
    for name, wrap in ((OURS, lambda layer: layer), (f"{OURS}-remat", rnn_jax.remat)):
        implementation = build_layer(workload, arrays, wrap)
        rows.append(_row(workload, implementation, name, "memory", "forward+backward", 1))
    for kind, value in (("compile", "compile_s"), ("memory", "temp_bytes")):
        of_kind = [row for row in rows if row["pass"] == kind]
        for row in of_kind:
            row["of_first"] = row[value] / of_kind[0][value]
    return rows


def _row(
    workload: Recurrence,
    implementation: JaxImplementation,
    name: str,
    kind: str,
    pass_name: str,
    repeats: int,
) -> dict[str, Any]:
    """Every `prepare` compiles anew: it jits a function of its own."""
    prepared = [implementation.prepare(pass_name) for _ in range(repeats)]
    return {
        **workload.facts(),
        "pass": kind,
        "implementation": name,
        "compile_s": statistics.median(p.compile_s for p in prepared if p.compile_s is not None),
        "temp_bytes": prepared[0].temp_bytes,
        "repeats": repeats,
        "versions": versions(OURS),
        **environment(),
    }
