"""Straight-line fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.reporting.fits import affine_fit, slope


@given(
    st.floats(0, 100), st.floats(0.01, 10), st.integers(3, 8), st.floats(1.5, 20),
    st.integers(0, 2**16),
)  # fmt: skip
def test_the_fit_finds_the_line_and_where_it_ends(
    fixed: float, each: float, points: int, bend: float, seed: int
) -> None:
    sizes = [2**n for n in range(points + 1)]
    noise = np.random.default_rng(seed).uniform(0.995, 1.005, points + 1)
    times = [(fixed + each * n) * e for n, e in zip(sizes, noise, strict=True)]
    fit = affine_fit(sizes, times, tolerance=0.02)
    assert fit is not None and (fit.low, fit.high) == (1, sizes[-1]) and fit.error <= 0.02
    for n in sizes:
        assert fit.fixed_ms + fit.each_ms * n == pytest.approx(fixed + each * n, rel=0.03)
    times[-1] *= bend * 2
    bent = affine_fit(sizes, times, tolerance=0.02)
    assert bent is None or bent.high < sizes[-1] or bent.low > 1


def test_no_line_through_two_points_and_a_slope() -> None:
    assert affine_fit([1, 2], [1.0, 2.0], 0.1) is None
    assert affine_fit([1, 2, 4], [9.0, 4.0, 1.0], 0.1) is None
    assert slope([4, 1, 2], [16.0, 1.0, 4.0]) == pytest.approx(2)


def test_of_a_repeated_size_the_last_time_counts() -> None:
    assert slope([1, 2, 2], [1.0, 9.0, 4.0]) == pytest.approx(2)
    assert slope([2, 2], [9.0, 4.0]) is None
    fit = affine_fit([1, 2, 4, 4], [11.0, 12.0, 90.0, 14.0], 0.01)
    assert fit is not None and (fit.high, fit.points) == (4, 3)
    assert affine_fit([1, 2, 2], [1.0, 2.0, 2.0], 0.1) is None


def test_each_time_has_a_tolerance_of_its_own() -> None:
    sizes, times = [16, 8, 4, 2, 1], [26.0, 18.0, 14.0 * 1.3, 12.0, 11.0]  # 10 + n, but at 4
    fit = affine_fit(sizes, times, [0.02, 0.02, 0.3, 0.02, 0.02])
    assert fit is not None and (fit.low, fit.high, fit.points) == (1, 16, 5)
    assert [fit.fixed_ms, fit.each_ms] == pytest.approx([10, 1], rel=0.01)
    assert affine_fit(sizes, times, 0.02) is None
    # Each stays with its size, in whatever order they come.
    assert affine_fit(sizes, times, [0.3, 0.02, 0.02, 0.02, 0.02]) is None
