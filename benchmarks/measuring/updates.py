"""The oracle of optimisers: what the first step does to parameters, in float64."""

from __future__ import annotations

import numpy as np

from benchmarks.measuring.oracle import Tolerance
from benchmarks.measuring.workloads import Arrays, Language

__all__ = ["DECAY", "first_update", "rounding_of"]

DECAY, _EPSILON = 0.9, 1e-8  # of Adam's means, and beside its root; everybody's defaults


def first_update(workload: Language, gradient: Arrays) -> Arrays:
    """The update by a gradient ``g``, after minus before; with Adam also its means, ``mean.NAME``.

    ``g ← g · min(1, clip / |g|)`` over all parameters; SGD ``-η g``; Adam, whose first averages are
    corrected to ``g`` and ``g²``, ``-η g / (|g| + ε)``.
    """
    if workload.clip is not None:
        norm = sum(float(np.sum(g * g)) for g in gradient.values()) ** 0.5
        gradient = {name: g * min(1.0, workload.clip / norm) for name, g in gradient.items()}
    if workload.optimizer == "sgd":
        return {name: -workload.learning_rate * g for name, g in gradient.items()}
    means = {f"mean.{name}": (1 - DECAY) * g for name, g in gradient.items()}
    return {name: _adam(workload, g) for name, g in gradient.items()} | means


def rounding_of(workload: Language, want: Arrays, allowance: Tolerance) -> Arrays:
    """By how much each element of Adam's updates may be off because its gradient is.

    The first update is nearly the gradient's sign, so that what rounding makes of a gradient near
    zero may be as much as η. It grows with the gradient: from the ends of the interval in which a
    gradient may lie follow those of its update's. Gradients themselves are held to the oracle by
    the means.
    """
    slack = {}
    for name in [name for name in want if f"mean.{name}" in want]:
        g = want[f"mean.{name}"] / (1 - DECAY)
        off = allowance.relative * np.abs(g).max(initial=0.0)
        ends = [np.abs(_adam(workload, g + d) - want[name]) for d in (-off, off)]
        slack[name] = np.maximum(*ends)
    return slack


def _adam(workload: Language, gradient: np.ndarray) -> np.ndarray:
    return -workload.learning_rate * gradient / (np.abs(gradient) + _EPSILON)
