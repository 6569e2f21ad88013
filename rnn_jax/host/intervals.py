"""How sure a median time is, by its ranks, and a ratio of two: a bootstrap of runs in turns."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist, median

__all__ = ["RESAMPLES", "median_interval", "ratio_interval"]

# With so many the ends of a 95 % interval are themselves sure to about a fiftieth of its width.
RESAMPLES = 2000


def median_interval(times: Sequence[float], *, level: float = 0.95) -> tuple[float, float] | None:
    """The interval of the median of a distribution, whatever that is, by the ranks of its sample.

    Its ends are the k-th least and the k-th greatest of n, with the greatest k for which
    ``1 - 2 P(X < k) >= level``, X being binomial with n draws of probability 1/2.

    Args:
      times: independent times, of one distribution.
      level: how often at least it is to hold the true median.

    Returns:
      The lower and the upper end; None where even the least and the greatest hold it less often,
      as those of fewer than six do at 95 %.

    Raises:
      ValueError: a level outside 0 to 1.

    Example:
      >>> median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])  # in 31 of 32 cases
      (1.0, 6.0)
      >>> median_interval(range(20))
      (5, 14)

    Reference:
      David and Nagaraja, Order statistics, 3rd edition, 2003, section 7.1.
    """
    _check(level)
    count, rank, outside = len(times), 0, 2.0 * 0.5 ** len(times)
    while outside <= 1 - level and rank < count // 2:
        rank += 1
        outside += 2 * math.comb(count, rank) * 0.5**count
    ranked = sorted(times)
    return (ranked[rank - 1], ranked[-rank]) if rank else None


def ratio_interval(
    slow: Sequence[float], fast: Sequence[float], *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The interval of ``median(slow) / median(fast)``, by percentiles of a bootstrap over pairs.

    ``slow[i]`` and ``fast[i]`` are seconds of two runs one after the other. They are drawn
    together, so that what slowed both down does not widen the interval. Percentiles of few pairs
    lie too near each other: for n pairs those of ``level`` are replaced by those of
    ``Φ(∓ sqrt(n / (n - 1)) t)``, t being Student's quantile of n - 1 degrees of freedom.

    Args:
      slow: seconds, one a pair.
      fast: seconds, one a pair, in the same order.
      level: how often it is to hold the true ratio.
      seed: of the resamples.

    Returns:
      The lower and the upper end.

    Raises:
      ValueError: fewer than two pairs, one without a partner, a time that is not positive, or a
        level outside 0 to 1.

    Example:
      >>> ratio_interval([4.0, 8.0, 4.1], [1.0, 2.0, 1.0])  # the second pair met a busy machine
      (4.0, 4.1)

    Reference:
      Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13; Hesterberg, What
      teachers should know about the bootstrap, 2015, section 5.3.
    """
    if len(slow) != len(fast) or len(slow) < 2:
        raise ValueError(
            f"an interval needs two pairs of times at least, not {len(slow)} and {len(fast)} times"
        )
    if not all(time > 0 for time in (*slow, *fast)):
        raise ValueError("a ratio needs times above zero: give seconds of runs that took some")
    _check(level)
    choose, pairs = random.Random(seed).choices, range(len(slow))
    ratios = []
    for _ in range(RESAMPLES):
        drawn = choose(pairs, k=len(pairs))
        ratios.append(median([slow[i] for i in drawn]) / median([fast[i] for i in drawn]))
    ratios.sort()
    outside = min(round(_tail(len(slow), level) * RESAMPLES), (RESAMPLES - 1) // 2)
    return ratios[outside], ratios[-1 - outside]


def _tail(count: int, level: float) -> float:
    """The share of resamples of so many pairs that is left out at either end."""
    return NormalDist().cdf(math.sqrt(count / (count - 1)) * _student((1 - level) / 2, count - 1))


def _student(share: float, freedom: int) -> float:
    """Student's quantile by its expansion about that of a normal distribution.

    From three pairs on, at levels from 0.5 to 0.99, it is off by less than what a fifth of one of
    `RESAMPLES` is: for few pairs next to none are left out.

    Reference:
      Abramowitz and Stegun, Handbook of mathematical functions, 1964, 26.7.5.
    """
    z = NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _check(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is a share between 0 and 1, such as 0.95, not {level}")
