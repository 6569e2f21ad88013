"""What XLA offers a loop over time: unrolling, command buffers, double buffering.

Its flags are settled when a process starts, and one that does not know a flag aborts: each way is
measured in a process of its own, which ``python -m benchmarks accelerator`` starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import jax

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import layers
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.oracle import check, expected, tolerance
from benchmarks.measuring.workloads import Recurrence, Shape
from benchmarks.peers import OURS, build
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import NotedRow
from benchmarks.reporting.tables import Line, table
from benchmarks.rows import by, measured, number, step_us

__all__ = ["GROUP", "UNROLL", "WAYS", "unrolled"]

# The variable of a process in which every loop over time is unrolled so many times.
UNROLL = "BENCHMARKS_UNROLL"
_COMMANDS = "--xla_gpu_enable_command_buffer"
_PLAIN = "plain"
# What is changed, and the variables of the process that has it so. Loops go into no command buffer
# unless that is asked for, and by default nor do fewer than five commands.
WAYS: dict[str, dict[str, str]] = {
    _PLAIN: {},
    "unroll-4": {UNROLL: "4"},
    "command-buffers": {"XLA_FLAGS": f"{_COMMANDS}=+WHILE"},
    "unroll-16": {UNROLL: "16"},
    "command-buffers-any-size": {
        "XLA_FLAGS": f"{_COMMANDS}=+WHILE --xla_gpu_graph_min_graph_size=1"
    },
    "unroll-8": {UNROLL: "8"},
    "unroll-2": {UNROLL: "2"},
    "command-buffers-unroll-8": {"XLA_FLAGS": f"{_COMMANDS}=+WHILE", UNROLL: "8"},
    "no-command-buffers": {"XLA_FLAGS": f"{_COMMANDS}="},
    "double-buffering": {"XLA_FLAGS": "--xla_gpu_enable_while_loop_double_buffering=true"},
}
_SHAPES: dict[bool, tuple[Shape, ...]] = {
    False: ((32, 35, 256, 28), (1, 100, 256, 256)),
    True: ((4, 12, 16, 8),),
}


def _cases(options: Options) -> list[Case]:
    """A layer forward and backward in every way; most telling: the first ways of an LSTM."""
    return [
        Case(
            GROUP.name,
            f"{layers.TRAINED}:{way}",
            workload.facts(),
            (OURS,),
            partial(_open, workload),
            of=layers.OF[layers.TRAINED],
            rank=min(1 + place // 4, 2) if place or index else 0,
            environment=variables,
        )
        for index, workload in enumerate(
            layers.chosen(options, _SHAPES[options.quick], ("lstm", "rnn"))
        )
        for place, (way, variables) in enumerate(WAYS.items())
    ]


def _open(workload: Recurrence) -> Callable[[str], Prepared]:
    arrays = workload.arrays()

    def prepare(name: str) -> Prepared:
        with unrolled(int(os.environ.get(UNROLL, "1").split()[-1])):
            implementation = build(OURS, workload, arrays)
            prepared = implementation.prepare(layers.TRAINED)
        want = expected(implementation.equations, arrays, layers.TRAINED)
        allowance = tolerance(workload.dtype, workload.precision, workload.length)
        check(prepared.result(), want, layers.TRAINED, allowance)
        return prepared

    return prepare


@contextmanager
def unrolled(times: int) -> Iterator[None]:
    """Every ``lax.scan`` that is traced within takes so many steps in a turn of its loop.

    XLA has no flag for it. What was traced before stays as it is, hence a process of its own.
    """
    scan = jax.lax.scan

    def more(f: Any, init: Any, xs: Any = None, length: Any = None, *how: Any, **named: Any) -> Any:
        if how:
            named["reverse"] = how[0]
        return scan(f, init, xs, length, **{**named, "unroll": times})

    with patch.object(jax.lax, "scan", more):
        yield


def _section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
    lines: list[Line] = []
    for (workload,), same in by(measured(rows), "workload").items():
        median = {row["pass"].partition(":")[2]: number(row, "median_ms") for row in same}
        for row, (way, own) in zip(same, median.items(), strict=True):
            lines.append(
                {
                    "workload": workload,
                    "way": way,
                    "variables": _written(WAYS.get(way, {})),
                    "median_ms": own,
                    "µs a step": step_us(row),
                    "times faster": median[_PLAIN] / own if _PLAIN in median else None,
                    "compile_s": row.get("compile_s"),
                }
            )
    if not lines:
        return []
    return ["## What the compiler offers", group.caption, table(lines, tuple(lines[0]))]


def _written(variables: dict[str, str]) -> str:
    return " ".join(f"{name}={value!r}" for name, value in variables.items()) or "none"


GROUP = Group(
    "compiler",
    _cases,
    (*COLUMNS[:5], "calls", "compile_s", "temp_bytes", "reason"),
    "Our layer, forward and backward, as it is and with XLA's options for loops, each in a process "
    f"of its own. `{UNROLL}` is the suite's own: steps in a turn of every `lax.scan`.",
    _section,
    summarised=False,
    apart="each way had a process of its own, one after the other",
    accelerator_only=True,
)
