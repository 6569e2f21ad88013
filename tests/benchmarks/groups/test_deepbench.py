"""DeepBench: every problem of its training set, with the published times."""

from __future__ import annotations

import pytest

from benchmarks.groups import GROUPS
from benchmarks.groups.deepbench import DEEPBENCH, PUBLISHED
from benchmarks.measuring.case import Options


def test_all_of_deepbench_is_there_with_what_was_published() -> None:
    assert len(set(DEEPBENCH)) == len(DEEPBENCH) == 53
    assert set(PUBLISHED) <= set(DEEPBENCH)
    cases = {case.name: case for case in GROUPS["deepbench"].cases(Options())}
    assert cases["deepbench/lstm-64x25x512x1/forward"].published == {"published V100": 1.34}
    both = cases["deepbench/lstm-128x25x1024x1/forward+backward"].published
    assert both == pytest.approx({"published V100": 8.38, "published TITAN Xp": 9.76})
