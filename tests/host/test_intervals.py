"""The bootstrap of a ratio: against all resamples, by symmetry, and by how often it holds."""

from __future__ import annotations

import itertools
import random
from statistics import median

import pytest

from rnn_jax.host.intervals import ratio_interval


def pairs(count: int, *, ratio: float, noise: float, seed: int) -> tuple[list[float], list[float]]:
    """Times whose true ratio is known; a machine that gets three times slower slows both."""
    draw = random.Random(seed)
    machine = [draw.choice((1.0, 3.0)) for _ in range(count)]
    slow = [ratio * m * draw.lognormvariate(0, noise) for m in machine]
    return slow, [m * draw.lognormvariate(0, noise) for m in machine]


def test_the_ends_are_those_of_all_resamples() -> None:
    slow, fast = pairs(5, ratio=2.0, noise=0.2, seed=0)
    every = sorted(
        median(slow[i] for i in drawn) / median(fast[i] for i in drawn)
        for drawn in itertools.product(range(5), repeat=5)
    )
    low, high = ratio_interval(slow, fast, level=0.9)
    # Of 2,000 resamples the share below an end is 0.05 ± 0.005; four of those to either side.
    for end, share in ((low, 0.05), (high, 0.95)):
        below, above = (round((share + by) * len(every)) for by in (-0.02, 0.02))
        assert every[below] <= end <= every[above]


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
    ends = [ratio_interval(slow, fast, level=level) for level in (0.5, 0.8, 0.95, 0.99)]
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
    # 0.95 of 100 with a standard deviation of 2.2; medians of 15 are a little conservative.
    assert held >= 88


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
