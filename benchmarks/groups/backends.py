"""Every backend of ours on the same layer: what "auto" takes, and what else there is."""

from __future__ import annotations

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import layers
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.workloads import CELLS, Shape
from benchmarks.peers import each_backend
from benchmarks.reporting.sections import plain

__all__ = ["GROUP"]

_SHAPES: dict[bool, tuple[Shape, ...]] = {
    False: ((32, 35, 256, 28), (1, 45, 100, 100), (16, 512, 128, 128)),
    True: ((4, 12, 16, 8),),
}


def _cases(options: Options) -> list[Case]:
    """Forward and backward first, and the LSTM before the others."""
    return [
        layers.case(
            GROUP.name,
            workload,
            pass_name,
            rank=1 + (pass_name != layers.TRAINED),
            names=tuple(each_backend()),
        )
        for pass_name in (layers.TRAINED, "forward")
        for workload in layers.chosen(options, _SHAPES[options.quick], tuple(reversed(CELLS)))
    ]


GROUP = Group(
    "backends",
    _cases,
    COLUMNS,
    "Our layer by each of its backends; `rnn_jax` is `auto`, the others stand behind the name.",
    plain(),
    summarised=False,
    accelerator_only=True,
)
