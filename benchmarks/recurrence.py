"""One recurrent layer, forward and backward, beside peers: the grid, DeepBench and the scalings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from benchmarks import flops
from benchmarks.case import Case, Options
from benchmarks.implementation import PASSES, Prepared
from benchmarks.oracle import HALF, check, expected, tolerance
from benchmarks.peers import IMPLEMENTATIONS, OURS, build
from benchmarks.workloads import (
    BATCH_SCALING,
    CELLS,
    DEEPBENCH,
    GRID,
    HIDDEN_SCALING,
    PUBLISHED,
    SEQUENCE_SCALING,
    Arrays,
    Recurrence,
    recurrences,
)

__all__ = [
    "batch_scaling", "case", "deepbench", "grid", "hidden_scaling", "sequence_scaling",
]  # fmt: skip

# A call of 20 steps is long, so that only the nearest peers take it; torch says why it does not.
# Not Haiku's RNN: its gradients, a ReLU's, explode, and what comes out is a matter of rounding.
MANY_STEPS = (OURS, "torch", "flax-linen", "flax-linen-optimized", "haiku", "jax-cudnn")
# Along a scale the shape counts, and each library's fastest form.
SCALED = (OURS, "torch", "numpy-vectorised", "flax-linen", "jax-cudnn")
_SLOW = ("torch-compile", "numpy-vectorised", "numpy-loop")
_TRAINED = "forward+backward"


def grid(options: Options) -> list[Case]:
    """Every shape with every cell and pass; most telling: training an LSTM.

    `torch.compile` takes half a minute for a layer, too long for a quick run.
    """
    names = [n for n in IMPLEMENTATIONS if not (options.quick and n == "torch-compile")]
    return [
        case("recurrence", workload, name, rank=_grid_rank(workload, name), names=names)
        for workload in _recurrences(options, GRID[options.quick], tuple(CELLS))
        for name in PASSES
    ]


def _grid_rank(workload: Recurrence, pass_name: str) -> int:
    trained = pass_name == _TRAINED
    return 0 if trained and workload.cell == "lstm" else 1 if trained else 2


def deepbench(options: Options) -> list[Case]:
    """All of the training set; most telling: what was published."""
    chosen = [p for p in DEEPBENCH if not options.quick or p[1] * p[3] < 60_000]
    chosen = [min(chosen, key=lambda p: p[1] * p[2] * p[3])] if options.quick else chosen
    return [
        case(
            "deepbench",
            Recurrence(
                cell, batch, length, hidden, 1, dtype=options.dtype, precision=options.precision
            ),
            pass_name,
            rank=_deepbench_rank(cell, hidden, batch, length),
            names=SCALED,
            published={
                name: milliseconds
                for name, both in PUBLISHED.get((cell, hidden, batch, length), {}).items()
                if (milliseconds := both[index]) is not None
            },
        )
        for cell, hidden, batch, length in chosen
        # DeepBench's "vanilla" layers have a ReLU; --cells rnn takes them.
        if options.cells is None or {"relu": "rnn"}.get(cell, cell) in options.cells
        for index, pass_name in enumerate(PASSES[:2])
    ]


def _deepbench_rank(cell: str, hidden: int, batch: int, length: int) -> int:
    known = (cell, hidden, batch, length) in PUBLISHED
    # The largest have outputs of a gigabyte, to be held to the oracle on the host.
    small = batch * length * hidden < 5e7
    return 0 if known and small else 1 if known else 2 if hidden < 2000 else 3


def sequence_scaling(options: Options) -> list[Case]:
    """T from 8 to 16,384."""
    return _scaling("sequence-scaling", options, SEQUENCE_SCALING)


def hidden_scaling(options: Options) -> list[Case]:
    """H from 32 to 4,096, with as many features."""
    return _scaling("hidden-scaling", options, HIDDEN_SCALING)


def batch_scaling(options: Options) -> list[Case]:
    """B from 1 to 1,024."""
    return _scaling("batch-scaling", options, BATCH_SCALING)


def _scaling(
    group: str, options: Options, shapes: dict[bool, tuple[tuple[int, int, int, int], ...]]
) -> list[Case]:
    cells = ("lstm",) if options.quick else ("lstm", "rnn")
    return [
        # Every second point first: half of them already show the slope.
        case(group, workload, _TRAINED, rank=1 + index % 2, names=SCALED)
        for index, workload in enumerate(_recurrences(options, shapes[options.quick], cells))
    ]


def _recurrences(
    options: Options, shapes: Iterable[tuple[int, int, int, int]], cells: Sequence[str]
) -> list[Recurrence]:
    chosen = cells if options.cells is None else [c for c in cells if c in options.cells]
    return recurrences(shapes, chosen, dtype=options.dtype, precision=options.precision)


def case(
    group: str,
    workload: Recurrence,
    pass_name: str,
    *,
    rank: int = 1,
    names: Sequence[str] = tuple(IMPLEMENTATIONS),
    published: dict[str, float] | None = None,
) -> Case:
    """A pass of a layer by the implementations of these names that are timed in it."""
    few = [n for n in MANY_STEPS if (n, workload.cell) != ("haiku", "rnn")]
    taken = tuple(n for n in names if pass_name != "many-steps" or n in few)
    return Case(
        group,
        pass_name,
        workload.facts(),
        taken,
        lambda: _open(workload, pass_name),
        slow=tuple(n for n in taken if n in _SLOW),
        cost=flops.recurrence(workload, pass_name),
        rank=rank,
        published=published or {},
    )


def _open(workload: Recurrence, pass_name: str) -> Callable[[str], Prepared]:
    arrays = workload.arrays()
    wanted: dict[str, Arrays] = {}
    allowance = tolerance(workload.dtype, workload.precision, workload.length)
    half = workload.dtype in HALF and pass_name == "many-steps"
    in_float32 = _open(replace(workload, dtype="float32"), pass_name) if half else None

    def prepare(name: str) -> Prepared:
        if in_float32 is not None:
            in_float32(name)
        implementation = build(name, workload, arrays)
        prepared = implementation.prepare(pass_name)
        equations = implementation.equations
        if equations not in wanted:
            wanted[equations] = expected(equations, arrays, pass_name)
        check(prepared.result(), wanted[equations], pass_name, allowance)
        return prepared

    return prepare
