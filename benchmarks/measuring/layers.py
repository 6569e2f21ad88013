"""Cases of one recurrent layer: its passes by ours and the peers, checked against the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from benchmarks.measuring import flops
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import STEPS, Prepared
from benchmarks.measuring.oracle import HALF, Wrong, at_kinks, check, expected, tolerance
from benchmarks.measuring.workloads import Arrays, Recurrence, Shape, recurrences
from benchmarks.peers import IMPLEMENTATIONS, OURS, build

__all__ = ["OF", "TRAINED", "case", "chosen", "scaled", "scaling"]

TRAINED = "forward+backward"
# A call of 20 steps is long, so that only the nearest peers take it; torch's row gives its reason.
# Haiku's RNN is left out: the gradients of its ReLU explode, and what remains is rounding.
MANY_STEPS = (OURS, "torch", "flax-linen", "flax-linen-optimized", "haiku", "jax-cudnn")
# Along a size the shape of the curve counts, and each library's fastest form is enough for it.
_SCALED = (OURS, "torch", "numpy-vectorised", "jax-cudnn")
# What the times of each pass are of.
OF = {
    "forward": "the outputs of all T steps",
    TRAINED: "the outputs of all T steps and all gradients, the inputs' too",
    "many-steps": f"an SGD step, {STEPS} of them inside one compiled call",
}
_SLOW = ("torch-compile", "numpy-vectorised", "numpy-loop")


def case(
    group: str,
    workload: Recurrence,
    pass_name: str,
    *,
    rank: int = 1,
    names: Sequence[str] = tuple(IMPLEMENTATIONS),
    published: Mapping[str, float] | None = None,
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
        of=OF[pass_name],
        cost=flops.layer_pass(workload, pass_name),
        rank=rank,
        published=published or {},
    )


def scaled(cell: str) -> tuple[str, ...]:
    """The implementations that are timed along a size.

    Of Flax's two cells of an LSTM the optimised one, which joins the products of the gates.
    """
    return (*_SCALED, "flax-linen-optimized" if cell == "lstm" else "flax-linen")


def scaling(group: str, options: Options, shapes: Iterable[Shape]) -> list[Case]:
    """Training passes along one size."""
    cells = ("lstm",) if options.quick else ("lstm", "rnn")
    return [
        # Every second point first: half of them already show the slope.
        case(group, workload, TRAINED, rank=1 + index % 2, names=scaled(workload.cell))
        for index, workload in enumerate(chosen(options, shapes, cells))
    ]


def chosen(options: Options, shapes: Iterable[Shape], cells: Sequence[str]) -> list[Recurrence]:
    """Every shape with those of the cells that ``--cells`` names."""
    wanted = cells if options.cells is None else [c for c in cells if c in options.cells]
    return recurrences(shapes, wanted, dtype=options.dtype, precision=options.precision)


def _open(workload: Recurrence, pass_name: str) -> Callable[[str], Prepared]:
    arrays = workload.arrays()
    allowance = tolerance(workload.dtype, workload.precision, workload.length)
    half = workload.dtype in HALF and pass_name == "many-steps"
    in_float32 = _open(replace(workload, dtype="float32"), pass_name) if half else None

    @cache
    def wanted(equations: str) -> Arrays:
        return expected(equations, arrays, pass_name)

    @cache
    def slack(equations: str) -> dict[str, float]:
        return at_kinks(equations, arrays, pass_name, allowance)

    def prepare(name: str) -> Prepared:
        if in_float32 is not None:
            in_float32(name)
        implementation = build(name, workload, arrays)
        prepared = implementation.prepare(pass_name)
        got, equations = prepared.result(), implementation.equations
        try:
            check(got, wanted(equations), pass_name, allowance)
        except Wrong:
            if not slack(equations):
                raise
            check(got, wanted(equations), pass_name, allowance, slack(equations))
        return prepared

    return prepare
