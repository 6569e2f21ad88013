"""Learning rates as functions of the step, each with a linear warm-up: optax schedules.

A schedule goes where an optimiser takes its learning rate. Given through
``optax.inject_hyperparams`` (or to `sgd`, which does that itself), the rate of the newest step
stands in the optimiser's state. Steps are updates: under ``optax.MultiSteps`` those in which
the parameters change.
"""

from __future__ import annotations

import math
from typing import Any, SupportsIndex

import optax

from rnn_jax.host.checks import not_negative, positive
from rnn_jax.training.checks import is_number

__all__ = ["constant", "cosine", "exponential", "step"]


def constant(rate: float, *, warmup: int = 0) -> optax.Schedule:
    """The same rate at every step, after a linear warm-up.

    ``η(t) = rate · min(1, (t + 1) / (warmup + 1))``, so that no step is without effect and step
    ``warmup``, counted from 0, is the first at the full rate.

    Args:
      rate: the learning rate after the warm-up.
      warmup: the number of steps below it; 0 for none.

    Returns:
      A function of the step, which counts from 0.

    Raises:
      ValueError: a rate that is negative or not finite, or a warm-up that is no number of steps.

    Example:
      >>> schedule = constant(0.4, warmup=3)
      >>> [round(float(schedule(t)), 2) for t in range(6)]
      [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    """
    _check_rate("rate", rate)
    return _warmed_up(optax.constant_schedule(rate), rate, warmup)


def step(
    rate: float, *, every: int, factor: float = 0.5, warmup: int = 0, least: float = 0.0
) -> optax.Schedule:
    """The rate multiplied by ``factor`` after every so many steps.

    ``η(warmup + t) = max(rate · factor^⌊t / every⌋, least)``

    Args:
      rate: the learning rate after the warm-up.
      every: steps from one decrease to the next.
      factor: what each multiplies the rate by, in ``(0, 1]``.
      warmup: steps of a linear warm-up before it, as in `constant`.
      least: where the decrease ends.

    Returns:
      A function of the step, which counts from 0.

    Raises:
      ValueError: numbers outside of these ranges.

    Example:
      >>> schedule = step(0.8, every=2)
      >>> [round(float(schedule(t)), 2) for t in range(6)]
      [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    """
    return _decayed(rate, every, factor, warmup, least, staircase=True)


def exponential(
    rate: float, *, every: int, factor: float = 0.5, warmup: int = 0, least: float = 0.0
) -> optax.Schedule:
    """The rate multiplied by ``factor`` in the course of every so many steps, a little at each.

    ``η(warmup + t) = max(rate · factor^(t / every), least)``

    Args:
      rate: the learning rate after the warm-up.
      every: steps in which the rate falls by ``factor``, such as those of an epoch.
      factor: in ``(0, 1]``.
      warmup: steps of a linear warm-up before it, as in `constant`.
      least: where the decrease ends.

    Returns:
      A function of the step, which counts from 0.

    Raises:
      ValueError: numbers outside of these ranges.

    Example:
      >>> schedule = exponential(0.8, every=2, factor=0.25)
      >>> [round(float(schedule(t)), 2) for t in range(4)]
      [0.8, 0.4, 0.2, 0.1]
    """
    return _decayed(rate, every, factor, warmup, least, staircase=False)


def cosine(rate: float, *, steps: int, warmup: int = 0, least: float = 0.0) -> optax.Schedule:
    """The rate falling along half a wave of the cosine, after a linear warm-up.

    ``η(warmup + t) = least + (rate - least) · (1 + cos(π t / (steps - warmup))) / 2``, and
    ``least`` from step ``steps`` on.

    Args:
      rate: the learning rate after the warm-up.
      steps: of the whole training, warm-up included.
      warmup: how many of them are the warm-up, as in `constant`.
      least: the rate at the end, at most ``rate``.

    Returns:
      A function of the step, which counts from 0.

    Raises:
      ValueError: numbers outside of these ranges, or a warm-up that leaves no step.

    Example:
      >>> schedule = cosine(0.4, steps=5, warmup=1)
      >>> [round(float(schedule(t)), 2) for t in range(7)]
      [0.2, 0.4, 0.34, 0.2, 0.06, 0.0, 0.0]

    Reference:
      Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017.
    """
    _check_rate("rate", rate)
    _check_least(least, rate)
    positive(steps=steps)
    not_negative(warmup=warmup)
    if warmup >= steps:
        raise ValueError(
            f"a warm-up of {warmup} steps leaves none of {steps}: make it shorter, or the training "
            "longer"
        )
    share = least / rate if rate else 0.0
    after = optax.cosine_decay_schedule(rate, int(steps) - int(warmup), alpha=share)
    return _warmed_up(after, rate, warmup)


def _decayed(
    rate: float,
    every: SupportsIndex,
    factor: float,
    warmup: int,
    least: float,
    *,
    staircase: bool,
) -> optax.Schedule:
    _check_rate("rate", rate)
    _check_least(least, rate)
    positive(every=every)
    if not is_number(factor) or not 0 < factor <= 1:
        raise ValueError(f"factor must lie in (0, 1], not {factor!r}: a rate falls by it")
    after = optax.exponential_decay(
        rate, int(every), factor, staircase=staircase, end_value=least or None
    )
    return _warmed_up(after, rate, warmup)


def _warmed_up(after: optax.Schedule, rate: float, warmup: int) -> optax.Schedule:
    """A linear rise to ``rate`` in ``warmup`` steps, and ``after`` from its own step 0 on."""
    not_negative(warmup=warmup)
    if not warmup:
        return after
    rise = optax.linear_schedule(rate / (warmup + 1), rate, int(warmup))
    return optax.join_schedules([rise, after], [int(warmup)])


def _check_rate(name: str, rate: Any) -> None:
    if not is_number(rate) or not 0 <= rate < math.inf:
        raise ValueError(f"{name} must be a finite number of at least 0, not {rate!r}")


def _check_least(least: Any, rate: float) -> None:
    _check_rate("least", least)
    if least > rate:
        raise ValueError(f"least must be at most the rate of {rate}, not {least}")
