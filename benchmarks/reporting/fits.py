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
    sizes: Sequence[float], times_ms: Sequence[float], tolerance: float | Sequence[float]
) -> Affine | None:
    """The affine fit over as many neighbouring sizes as it holds for, three at least, or None.

    It holds where no time is off by more than its ``tolerance``, a part of itself, one for all or
    one each; no coefficient is negative. Each time counts by its relative error in terms of its
    tolerance, since noise is relative. Where a size comes twice, the last counts.

    Example:
      >>> fit = affine_fit([1, 2, 4, 8, 16], [12.0, 14.0, 18.0, 26.0, 90.0], tolerance=0.05)
      >>> round(fit.fixed_ms, 6), round(fit.each_ms, 6), fit.low, fit.high
      (10.0, 2.0, 1, 8)
    """
    allowed = [tolerance] * len(sizes) if isinstance(tolerance, int | float) else tolerance
    last = dict(zip(sizes, zip(times_ms, allowed, strict=True), strict=True))
    known = sorted(last)
    x, (y, most) = np.asarray(known, float), np.array([last[n] for n in known], float).T
    for count in range(len(x), 2, -1):
        fits = []
        for first in range(len(x) - count + 1):
            these = slice(first, first + count)
            n, t = x[these], y[these]
            rows = np.stack([1 / t, n / t], 1)
            # What may be further off counts less.
            weighted, wanted = rows / most[these, None], 1 / most[these]
            (fixed, each), *_ = np.linalg.lstsq(weighted, wanted)
            if fixed < 0:  # no call takes a negative time
                fixed, each = 0.0, np.linalg.lstsq(weighted[:, 1:], wanted)[0][0]
            elif each < 0:  # nor does more work take less: noise about a constant
                fixed, each = np.linalg.lstsq(weighted[:, :1], wanted)[0][0], 0.0
            errors = np.abs(rows @ (fixed, each) - 1)
            if (errors <= most[these]).all():
                low, high = known[first], known[first + count - 1]
                fit = Affine(float(fixed), float(each), low, high, count, float(errors.max()))
                fits.append(fit)
        if fits:
            return min(fits, key=lambda fit: fit.error)
    return None


def slope(sizes: Sequence[float], times_ms: Sequence[float]) -> float | None:
    """The slope between the last two sizes, both axes logarithmic: 1 where time is linear.

    Where a size comes twice, the last time counts; None where there is one size only.

    Example:
      >>> slope([1, 2, 4], [5.0, 6.0, 24.0])
      2.0
    """
    last = dict(zip(sizes, times_ms, strict=True))
    if len(last) < 2:
        return None
    (a, s), (b, t) = sorted(last.items())[-2:]
    return math.log(t / s) / math.log(b / a)
