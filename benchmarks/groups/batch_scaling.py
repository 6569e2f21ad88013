"""One recurrent layer against its batch B, from 1 to 1,024."""

from __future__ import annotations

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import layers
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.workloads import Shape
from benchmarks.reporting.sections import scaling

__all__ = ["GROUP"]

# By whether the run is a quick one.
_SHAPES: dict[bool, tuple[Shape, ...]] = {
    False: tuple((2**n, 32, 256, 256) for n in range(11)),
    True: tuple((4**n, 8, 32, 32) for n in range(4)),
}


def _cases(options: Options) -> list[Case]:
    return layers.scaling(GROUP.name, options, _SHAPES[options.quick])


GROUP = Group(
    "batch-scaling",
    _cases,
    COLUMNS,
    "time against B",
    scaling("B"),
    in_roofline=True,
    above_roofline=True,
)
