"""What the machine allows: the fastest product, and the fastest update of arrays of many sizes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.ceilings import PRODUCT, UPDATE, Ceiling, prepared
from benchmarks.measuring.roofline import Roofline
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import NotedRow
from benchmarks.reporting.tables import Line, table
from benchmarks.rows import by, measured, number

__all__ = ["GROUP"]

_KIB, _MIB = 2**10, 2**20
# Of an array, from what fits into the nearest cache to what fits into none, by whether the run is a
# quick one; of a matrix's side, of which the smallest are for processors of little memory.
_BYTES = {False: tuple(64 * _KIB * 4**n for n in range(7)), True: (64 * _KIB, 4 * _MIB)}
_SIDES = {False: (512, 1024, 2048, 4096), True: (512,)}
_MORE_BYTES, _MORE_SIDES = (1024 * _MIB,), (8192,)  # on accelerators
_WHOLE, _ONE = "whole device", "one core"  # the passes


def _cases(options: Options) -> list[Case]:
    """Updates and products on the whole device; and on one core, where the device is a CPU."""
    host, full = options.platform == "cpu", not options.quick
    sizes = _BYTES[options.quick] + (() if host or options.quick else _MORE_BYTES)
    sides = _SIDES[options.quick] + (() if host or options.quick else _MORE_SIDES)
    return [
        _case(Ceiling(kind, size, options.dtype, options.precision, one_core), host)
        for one_core in ((False, True) if host and full else (False,))
        for kind, each in ((UPDATE, sizes), (PRODUCT, sides))
        for size in each
    ]


def _case(ceiling: Ceiling, host: bool) -> Case:
    has_blas = ceiling.dtype in ("float32", "float64")
    numpy = host and (ceiling.kind == UPDATE or has_blas)
    return Case(
        GROUP.name,
        _ONE if ceiling.one_core else _WHOLE,
        _facts(ceiling),
        ("xla", "numpy") if numpy else ("xla",),
        lambda: partial(prepared, ceiling),
        of="one product or update",
        rank=0,
        ours="xla",
    )


def _facts(ceiling: Ceiling) -> Mapping[str, Any]:
    product = ceiling.kind == PRODUCT
    size = str(ceiling.size) if product else _binary(ceiling.size)
    return {
        "workload": f"{ceiling.kind}-{size}",
        "dtype": ceiling.dtype,
        "precision": ceiling.precision,
        "flops": ceiling.amount if product else None,
        "bytes": None if product else ceiling.amount,
    }


def _binary(size: int) -> str:
    return f"{size // _MIB}MiB" if size >= _MIB else f"{size // _KIB}KiB"


def _roofline(rows: list[NotedRow]) -> Roofline | None:
    """The best of all that were measured on the whole device; None where something is missing."""
    whole = [row for row in measured(rows) if row["pass"] == _WHOLE]
    products = [number(row, "value") for row in whole if row.get("flops")]
    best: dict[float, float] = {}
    for row in whole:
        if row.get("bytes"):
            held = number(row, "bytes") / 2  # which are read and written
            best[held] = max(best.get(held, 0.0), number(row, "value"))
    if not (products and best):
        return None
    sizes = tuple(sorted(best.items()))
    return Roofline(max(products), sizes[-1][1], sizes)


def _section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
    lines: list[Line] = []
    passes = [name for name in (_ONE, _WHOLE) if any(row["pass"] == name for row in rows)]
    for (workload,), same in by(measured(rows), "workload").items():
        line: Line = {"what": workload, "unit": same[0].get("unit")}
        for name in passes:
            own = [row for row in same if row["pass"] == name]
            best = max(own, key=lambda row: number(row, "value"), default=None)
            if best is not None:
                line |= {name: number(best, "value"), f"{name}, by": best["implementation"]}
        lines.append(line)
    if not lines:
        return []
    columns = [c for name in passes for c in (name, f"{name}, by")]
    return ["## Ceilings", group.caption, table(lines, ("what", "unit", *columns))]


GROUP = Group(
    "ceilings",
    _cases,
    COLUMNS,
    "The best of many calls, each of which repeats its work in warm memory, by XLA or NumPy, "
    "whichever is faster. `update` changes the sign of float32 numbers in place; its bytes are "
    "those read and those written. `product` is one of square matrices of so many rows. A case is "
    "held against the fastest product and against the bandwidth of arrays that take a third of its "
    "bytes, because some bytes are of the same array: where that much fits into a cache, it is the "
    "cache's bandwidth. A small update may be slower on all cores "
    "than on one: to hand a part of it over takes longer than to do it.",
    _section,
    roofline=_roofline,
    summarised=False,
    above_roofline=True,
)
