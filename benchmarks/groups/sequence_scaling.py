"""One recurrent layer against its sequence's length T, from 8 to 16,384."""

from __future__ import annotations

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import layers
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.workloads import Shape
from benchmarks.reporting.sections import scaling

__all__ = ["GROUP"]

# By whether the run is a quick one.
_SHAPES: dict[bool, tuple[Shape, ...]] = {
    False: tuple((8, 2**n, 128, 128) for n in range(3, 15)),
    True: tuple((4, 8 * 4**n, 32, 32) for n in range(4)),
}


def _cases(options: Options) -> list[Case]:
    return layers.scaling(GROUP.name, options, _SHAPES[options.quick])


GROUP = Group(
    "sequence-scaling",
    _cases,
    COLUMNS,
    "time against T",
    scaling("T"),
    in_roofline=True,
    above_roofline=True,
    in_readme=True,
)
