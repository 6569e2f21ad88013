"""What is measured on an accelerator, the most telling first.

Listing it touches no device: the process that asks for measurements has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.group import Group
from benchmarks.groups import (
    backends,
    ceilings,
    compiler,
    generation,
    laws,
    recurrence,
    reference,
    training,
    truncation,
)
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.isolated import Planned
from benchmarks.measuring.layers import TRAINED
from benchmarks.peers import OURS

__all__ = ["BFLOAT16", "SINGLE", "TF32", "plan"]

Numbers = tuple[str, str]  # dtype and precision

SINGLE: Numbers = ("float32", "highest")
# Both allow it on a GPU; on a TPU "default" is one product of bfloat16 and "high" three.
TF32: Numbers = ("float32", "high")
DEFAULT: Numbers = ("float32", "default")
BFLOAT16: Numbers = ("bfloat16", "highest")

# What needs nothing but PyTorch beside JAX, and cuDNN by JAX itself.
_PEERS = (OURS, "torch", "jax-cudnn", "torch-compile")
_STEPS = ("step", "many-steps")


class _Part(NamedTuple):
    """Cases of a group; ``later`` is added to their ranks."""

    group: Group
    numbers: Numbers
    later: float = 0.0
    taken: Callable[[Case], Case | None] = lambda case: case


def _beside(case: Case) -> Case:
    return case.only(tuple(name for name in case.implementations if name in _PEERS))


def _trained(case: Case) -> Case | None:
    """A layer forward and backward, in numbers of which nothing else is timed."""
    return _beside(case) if case.pass_name == TRAINED else None


def _whole_steps(case: Case) -> Case | None:
    """Without `fit`, which takes minutes to say something."""
    return case if case.pass_name in _STEPS else None


# By their ranks, and among equals in this order.
_PARTS = (
    _Part(ceilings.GROUP, SINGLE, -1.0),
    _Part(laws.GROUP, SINGLE, -0.5),
    _Part(reference.GROUP, SINGLE),
    _Part(recurrence.GROUP, SINGLE, 0.0, _beside),
    _Part(compiler.GROUP, SINGLE),
    _Part(ceilings.GROUP, BFLOAT16, 1.0),
    _Part(ceilings.GROUP, TF32, 1.0),
    _Part(laws.GROUP, BFLOAT16, 1.0),
    _Part(laws.GROUP, TF32, 1.0),
    _Part(truncation.GROUP, SINGLE),
    _Part(backends.GROUP, SINGLE),
    _Part(training.GROUP, SINGLE, 0.0, _whole_steps),
    _Part(generation.GROUP, SINGLE),
    _Part(recurrence.GROUP, BFLOAT16, 1.5, _trained),
    _Part(recurrence.GROUP, TF32, 1.5, _trained),
    _Part(laws.GROUP, DEFAULT, 2.0),
)
_PLATFORM = "accelerator"  # cases are the same on every one, and in a dry run
_SLOW = 3.0  # what takes half a minute to compile waits for all else


def plan(dry: bool) -> list[Planned]:
    """Every case in its order; of a dry run in small shapes, but the same cases otherwise."""
    ranked = []
    for part in _PARTS:
        dtype, precision = part.numbers
        for given in part.group.cases(Options(dry, dtype, precision, platform=_PLATFORM)):
            case = part.taken(given)
            if case is None:
                continue
            rank = case.rank + part.later
            if case.quickly.implementations:
                ranked.append((rank, Planned(case.quickly, dtype, precision)))
            if case.slow:  # beside ours, for the ratio
                slow = tuple(n for n in case.implementations if n in (*case.slow, case.ours))
                ranked.append((rank + _SLOW, Planned(case.only(slow), dtype, precision)))
    return [planned for _, planned in sorted(ranked, key=lambda pair: pair[0])]
