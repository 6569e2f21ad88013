"""How sure a ratio of two times is: a bootstrap over runs that took turns."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median

__all__ = ["RESAMPLES", "ratio_interval"]

# With so many the ends of a 95 % interval are themselves sure to about a fiftieth of its width.
RESAMPLES = 2000


def ratio_interval(
    slow: Sequence[float], fast: Sequence[float], *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The interval of ``median(slow) / median(fast)``, by percentiles of a bootstrap over pairs.

    ``slow[i]`` and ``fast[i]`` are seconds of two runs one after the other. They are drawn
    together, so that what slowed both down does not widen the interval.

    Args:
      slow: seconds, one a pair.
      fast: seconds, one a pair, in the same order.
      level: the share of resamples that lies within.
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
      Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13.
    """
    if len(slow) != len(fast) or len(slow) < 2:
        raise ValueError(
            f"an interval needs two pairs of times at least, not {len(slow)} and {len(fast)} times"
        )
    if not all(time > 0 for time in (*slow, *fast)):
        raise ValueError("a ratio needs times above zero: give seconds of runs that took some")
    if not 0 < level < 1:
        raise ValueError(f"level is a share between 0 and 1, such as 0.95, not {level}")
    choose, pairs = random.Random(seed).choices, range(len(slow))
    ratios = []
    for _ in range(RESAMPLES):
        drawn = choose(pairs, k=len(pairs))
        ratios.append(median([slow[i] for i in drawn]) / median([fast[i] for i in drawn]))
    ratios.sort()
    outside = round((1 - level) / 2 * RESAMPLES)
    return ratios[outside], ratios[-1 - outside]
