"""Backpropagated gradients against central differences, parameter by parameter, in NumPy."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, SupportsFloat

import numpy as np

from rnn_jax.reference.word_model import Array, Gradients, Ids

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class ArrayCheck:
    """The outcome for one array: name, number of parameters, largest relative error."""

    name: str
    count: int
    largest_relative_error: float
    passed: bool

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.count} parameters, largest relative error "
            f"{self.largest_relative_error:.3g}, {'passed' if self.passed else 'FAILED'}"
        )


@dataclass(frozen=True)
class GradientMismatch:
    """The first parameter whose two gradients disagree."""

    name: str
    index: tuple[int, ...]
    loss_plus: float
    loss_minus: float
    estimated_gradient: float
    backprop_gradient: float
    relative_error: float

    def __str__(self) -> str:
        return (
            f"gradient check failed at {self.name}{list(self.index)}: "
            f"+h loss {self.loss_plus:.9g}, -h loss {self.loss_minus:.9g}, "
            f"estimated gradient {self.estimated_gradient:.9g}, "
            f"backpropagated gradient {self.backprop_gradient:.9g}, "
            f"relative error {self.relative_error:.3g}"
        )


@dataclass(frozen=True)
class GradientReport:
    """The outcome for all arrays; prints as one line for each, and the first failure, if any."""

    arrays: tuple[ArrayCheck, ...]
    failure: GradientMismatch | None

    @property
    def passed(self) -> bool:
        return self.failure is None

    def __str__(self) -> str:
        return "\n".join(map(str, (*self.arrays, *([] if self.passed else [self.failure]))))


def gradient_check(
    loss_fn: Callable[[Arrays], SupportsFloat],
    arrays: Arrays,
    gradients: Arrays,
    *,
    h: float = 0.001,
    threshold: float = 0.01,
) -> GradientReport:
    """Compare every element of `gradients` with a central difference of the loss.

        estimate = (loss(p + h) - loss(p - h)) / 2h
        error    = |backprop - estimate| / (|backprop| + |estimate|),   0/0 = 0

    Args:
        loss_fn: the loss as a function of the named arrays. Every call receives the same float64
            copies, changed in place between calls, so it must neither keep nor change them.
        arrays: the parameters, of any shape.
        gradients: the gradients to be checked, with the names and shapes of `arrays`.
        h: the step to either side.
        threshold: an element passes if its error does not exceed this; NaN never passes.

    Raises:
        ValueError: names or shapes differ, or h is not finite and positive.

    Example:
        >>> square = lambda a: (a["w"] ** 2).sum()
        >>> w = np.array([1.0, -2.0])
        >>> gradient_check(square, {"w": w}, {"w": 2 * w}).passed
        True
        >>> print(gradient_check(square, {"w": w}, {"w": w}).arrays[0])
        w: 2 parameters, largest relative error 0.333, FAILED

    Source: D. Britz, "Recurrent Neural Networks Tutorial, Part 2", wildml.com, 2015.
    """
    if {n: np.shape(a) for n, a in arrays.items()} != {
        n: np.shape(g) for n, g in gradients.items()
    }:
        raise ValueError("gradients must have the names and shapes of the parameters")
    if not (math.isfinite(h) and h > 0):
        raise ValueError(f"h must be finite and positive, not {h}")
    work = {name: np.array(array, np.float64) for name, array in arrays.items()}
    checks = []
    failure = None
    for name, array in work.items():
        largest, passed = 0.0, True
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + h
            plus = float(loss_fn(work))
            array[index] = value - h
            minus = float(loss_fn(work))
            array[index] = value
            estimate, backprop = (plus - minus) / (2 * h), float(gradients[name][index])
            scale = abs(estimate) + abs(backprop)
            error = 0.0 if scale == 0 else abs(backprop - estimate) / scale
            largest = float(np.maximum(largest, error))  # unlike max, it keeps NaN
            if not error <= threshold:
                passed = False
                failure = failure or GradientMismatch(
                    name, index, plus, minus, estimate, backprop, error
                )
        checks.append(ArrayCheck(name, array.size, largest, passed))
    return GradientReport(tuple(checks), failure)


class WordModel(Protocol):
    """What `check_word_model` needs; `rnn_jax.reference.NumpyRNN` has it."""

    U: Array
    V: Array
    W: Array

    def total_loss(self, xs: Sequence[Ids], ys: Sequence[Ids]) -> float: ...

    def gradients(self, x: Ids, y: Ids, bptt_truncate: int) -> Gradients: ...


def check_word_model(
    model: WordModel,
    x: Ids,
    y: Ids,
    *,
    h: float = 0.001,
    threshold: float = 0.01,
    bptt_truncate: int = 1000,
) -> GradientReport:
    """Run `gradient_check` on a model's U, V and W for one sentence, x and y being int[T].

    Example:
        >>> from rnn_jax.reference import NumpyRNN
        >>> model = NumpyRNN.init(vocab_size=10, hidden_size=3, seed=0)
        >>> check_word_model(model, [0, 1, 2, 3], [1, 2, 3, 4]).passed
        True
    """
    probe = copy.copy(model)

    def loss(arrays: Arrays) -> float:
        probe.U, probe.V, probe.W = (arrays[name] for name in "UVW")
        return probe.total_loss([x], [y])

    return gradient_check(
        loss,
        {"U": model.U, "V": model.V, "W": model.W},
        dict(zip("UVW", model.gradients(x, y, bptt_truncate), strict=True)),
        h=h,
        threshold=threshold,
    )
