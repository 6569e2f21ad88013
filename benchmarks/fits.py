"""Straight lines through times: an affine fit with the range where it holds, and a slope."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Affine", "affine_fit", "slope"]


class Affine(NamedTuple):
    """``fixed_ms + each_ms · n`` for n in ``low … high``, off by ``error`` of a time at most."""

    fixed_ms: float
    each_ms: float
    low: float
    high: float
    points: int
    error: float


def affine_fit(
    sizes: Sequence[float], times_ms: Sequence[float], tolerance: float
) -> Affine | None:
    """The affine fit over as many neighbouring sizes as it holds for; None where for no three.

    It holds where no time is off by more than ``tolerance`` of itself; no coefficient is negative.
    Each time counts by its relative error, since noise is relative.

    Example:
      >>> fit = affine_fit([1, 2, 4, 8, 16], [12.0, 14.0, 18.0, 26.0, 90.0], tolerance=0.05)
      >>> round(fit.fixed_ms, 6), round(fit.each_ms, 6), fit.low, fit.high
      (10.0, 2.0, 1, 8)
    """
    order = np.argsort(sizes)
    x, y = np.asarray(sizes, float)[order], np.asarray(times_ms, float)[order]
    for count in range(len(x), 2, -1):
        fits = []
        for first in range(len(x) - count + 1):
            n, t = x[first : first + count], y[first : first + count]
            rows = np.stack([1 / t, n / t], 1)
            (fixed, each), *_ = np.linalg.lstsq(rows, np.ones(count))
            if fixed < 0:  # no call takes less than no time
                slope_rows = rows[:, 1]
                fixed, each = 0.0, slope_rows.sum() / (slope_rows @ slope_rows)
            error = float(np.abs(rows @ (fixed, each) - 1).max())
            if error <= tolerance and each >= 0:
                low, high = (sizes[order[i]] for i in (first, first + count - 1))
                fits.append(Affine(float(fixed), float(each), low, high, count, error))
        if fits:
            return min(fits, key=lambda fit: fit.error)
    return None


def slope(sizes: Sequence[float], times_ms: Sequence[float]) -> float:
    """The slope between the last two sizes, both axes logarithmic: 1 where time is linear.

    Example:
      >>> slope([1, 2, 4], [5.0, 6.0, 24.0])
      2.0
    """
    (a, s), (b, t) = sorted(zip(sizes, times_ms, strict=True))[-2:]
    return math.log(t / s) / math.log(b / a)
