"""Intervals: ranks against all orders, resamples against all of them, and how often they hold."""

from __future__ import annotations

import itertools
import math
import random
from statistics import median

import pytest

from rnn_jax.host.intervals import RESAMPLES, _tail, median_interval, ratio_interval


def pairs(count: int, *, ratio: float, noise: float, seed: int) -> tuple[list[float], list[float]]:
    """Times whose true ratio is known; a machine that gets three times slower slows both."""
    draw = random.Random(seed)
    machine = [draw.choice((1.0, 3.0)) for _ in range(count)]
    slow = [ratio * m * draw.lognormvariate(0, noise) for m in machine]
    return slow, [m * draw.lognormvariate(0, noise) for m in machine]


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("count", range(12))
def test_ranks_hold_the_median_as_often_as_every_choice_of_sides_says(
    count: int, level: float
) -> None:
    # Each time is below the true median or above it, as likely: all 2^n ways are counted.
    below = [bin(sides).count("1") for sides in range(2**count)]
    held = {
        rank: sum(rank <= number <= count - rank for number in below) / 2**count
        for rank in range(1, count // 2 + 1)
    }
    ranks = [rank for rank, share in held.items() if share >= level]
    ends = median_interval(range(1, count + 1), level=level)
    assert ends == ((max(ranks), count + 1 - max(ranks)) if ranks else None)


def test_six_are_the_fewest_whose_median_has_an_interval() -> None:
    assert median_interval([5.0, 1.0, 4.0, 2.0, 3.0]) is None
    assert median_interval([5.0, 1.0, 4.0, 2.0, 3.0, 6.0]) == (1.0, 6.0)


def test_the_ends_are_those_of_all_resamples() -> None:
    slow, fast = pairs(5, ratio=2.0, noise=0.2, seed=0)
    every = sorted(
        median(slow[i] for i in drawn) / median(fast[i] for i in drawn)
        for drawn in itertools.product(range(5), repeat=5)
    )
    low, high = ratio_interval(slow, fast, level=0.5)
    # Student's upper quartile of 4 degrees of freedom is 0.7407 by the tables.
    tail = 0.5 * math.erfc(math.sqrt(5 / 4) * 0.7407 / math.sqrt(2))
    # Of 2,000 resamples the share below an end is 0.204 ± 0.009; more than two of those.
    for end, share in ((low, tail), (high, 1 - tail)):
        below, above = (round((share + by) * len(every)) for by in (-0.03, 0.03))
        assert every[below] <= end <= every[above]


@pytest.mark.parametrize(
    "count, student", [(3, 4.303), (4, 3.182), (6, 2.571), (8, 2.365), (10, 2.262), (20, 2.093)]
)
def test_as_many_resamples_are_left_out_as_the_tables_say(count: int, student: float) -> None:
    share = 0.5 * math.erfc(math.sqrt(count / (count - 1)) * student / math.sqrt(2))
    assert abs(_tail(count, 0.95) - share) < 0.2 / RESAMPLES


def test_ends_turn_over_with_the_sides() -> None:
    slow, fast = pairs(9, ratio=3.0, noise=0.1, seed=1)
    low, high = ratio_interval(slow, fast)
    assert ratio_interval(fast, slow) == pytest.approx((1 / high, 1 / low), rel=1e-12)


def test_no_unit_and_no_seed_matters_much() -> None:
    slow, fast = pairs(15, ratio=3.0, noise=0.1, seed=2)
    once = ratio_interval(slow, fast)
    assert ratio_interval([1e3 * t for t in slow], [1e3 * t for t in fast]) == pytest.approx(once)
    assert ratio_interval(slow, fast, seed=1) == pytest.approx(once, rel=0.05)
    assert ratio_interval(slow, fast) == once


def test_a_higher_level_is_never_narrower() -> None:
    slow, fast = pairs(11, ratio=1.5, noise=0.2, seed=3)
    ends = [ratio_interval(slow, fast, level=level) for level in (1e-9, 0.5, 0.8, 0.95, 0.99)]
    assert all(b[0] <= a[0] <= a[1] <= b[1] for a, b in itertools.pairwise(ends))


def test_what_slowed_both_down_does_not_widen_it() -> None:
    slow, fast = pairs(21, ratio=2.0, noise=0.0, seed=4)
    assert ratio_interval(slow, fast) == pytest.approx((2.0, 2.0), rel=1e-12)


def test_it_holds_the_true_ratio_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        slow, fast = pairs(15, ratio=2.0, noise=0.1, seed=100 + seed)
        low, high = ratio_interval(slow, fast)
        held += low <= 2.0 <= high
    # 0.95 of 100 with a standard deviation of 2.2; what both share makes it conservative.
    assert held >= 90


@pytest.mark.parametrize(
    "slow, fast, level, message",
    [
        ([1.0], [1.0], 0.95, "two pairs"),
        ([1.0, 2.0], [1.0], 0.95, "not 2 and 1 times"),
        ([1.0, 0.0], [1.0, 2.0], 0.95, "above zero"),
        ([1.0, float("nan")], [1.0, 2.0], 0.95, "above zero"),
        ([1.0, 2.0], [1.0, 2.0], 95.0, "between 0 and 1"),
    ],
)
def test_bad_input_is_one_sentence(
    slow: list[float], fast: list[float], level: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ratio_interval(slow, fast, level=level)


@pytest.mark.parametrize("count", [2, 3, 6, 7])
def test_ends_are_in_order_at_every_level(count: int) -> None:
    slow, fast = pairs(count, ratio=2.0, noise=0.2, seed=5)
    for level in (1e-12, 1e-3, 0.5, 0.999, 1 - 1e-12):
        low, high = ratio_interval(slow, fast, level=level)
        assert low <= high
    with pytest.raises(ValueError, match="between 0 and 1"):
        median_interval(slow, level=0.0)
