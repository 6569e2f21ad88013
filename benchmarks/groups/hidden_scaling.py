"""One recurrent layer against its hidden units H, from 32 to 4,096, with as many features."""

from __future__ import annotations

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import layers
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.workloads import Shape
from benchmarks.reporting.sections import scaling

__all__ = ["GROUP"]

# By whether the run is a quick one.
_SHAPES: dict[bool, tuple[Shape, ...]] = {
    False: tuple((32, 32, 2**n, 2**n) for n in range(5, 13)),
    True: tuple((4, 8, 32 * 4**n, 32 * 4**n) for n in range(3)),
}


def _cases(options: Options) -> list[Case]:
    return layers.scaling(GROUP.name, options, _SHAPES[options.quick])


GROUP = Group(
    "hidden-scaling",
    _cases,
    COLUMNS,
    "time against H",
    scaling("H"),
    in_roofline=True,
    above_roofline=True,
)
