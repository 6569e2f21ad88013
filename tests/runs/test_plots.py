"""The pictures of runs: what lies where, on which scale."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_jax.runs.listing import summarize
from rnn_jax.runs.plots import compared_losses, loss_figure
from tests.runs.written import row, write


def lines(axes: Any) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_training_loss_stands_between_the_evaluations_it_is_from() -> None:
    rows = [row(0, 2.0), row(0.25, 1.5), row(0.5, 1.2), row(1.5, 1.0)]
    top, below = loss_figure(rows, 1.8, title="a text").axes
    drawn = lines(top)
    assert drawn["held-out text"].tolist() == [[0, 2.0], [0.25, 1.5], [0.5, 1.2], [1.5, 1.0]]
    assert drawn["while training"][:, 0].tolist() == [0.125, 0.375, 1.0]
    assert drawn["while training"][:, 1] == pytest.approx([1.4, 1.1, 0.9])
    assert top.get_yscale() == below.get_yscale() == "linear"
    assert below.get_ylabel() == "learning rate" and below.get_xlabel() == "epoch"
    assert [line.get_marker() for line in top.get_lines()[:2]] == [".", "."]


def test_wide_ranges_are_logarithmic_and_many_points_have_no_marks() -> None:
    rows = [row(n, 5 * 0.97**n, learning_rate=0.1 * 0.5 ** (n // 20)) for n in range(100)]
    top, below = loss_figure(rows, 5.0, title="a text").axes
    assert top.get_yscale() == below.get_yscale() == "log"
    assert top.get_lines()[1].get_marker() == ""
    rows = [row(n, 1.0, learning_rate=rate) for n, rate in enumerate([0.0, 0.01, 1e-9])]
    below = loss_figure(rows, 1.0, title="a text").axes[1]
    low, high = below.get_ylim()
    assert below.get_yscale() == "log" and 1e-7 < low < 1e-6 and 0.01 < high < 0.02


def test_rows_that_lack_figures_are_drawn_as_far_as_they_go() -> None:
    rows = [row(0, 2.0), row(1, math.nan), row(2, 1.0)]
    for one in rows:
        del one["learning_rate"]
    (axes,) = loss_figure(rows, 1.8, title="a text").axes
    assert lines(axes)["held-out text"].tolist() == [[0, 2.0], [2, 1.0]]
    assert "while training" not in lines(loss_figure(rows[:1], 1.8, title="a text").axes[0])
    assert loss_figure([], 1.8, title="a text").axes


@pytest.mark.parametrize(
    "against, xs", [("epoch", [0, 1, 2]), ("step", [0, 10, 20]), ("tokens", [0, 1000, 2000])]
)
def test_runs_are_compared_against_what_is_asked(
    tmp_path: Path, against: Any, xs: list[int]
) -> None:
    runs = {
        name: summarize(write(tmp_path / name, [1.6, 1.0 + n / 20, 0.9]))
        for n, name in enumerate("abcdefghijkl")
    }
    (axes,) = compared_losses(runs, against=against).axes
    assert set(runs) <= set(lines(axes))
    assert lines(axes)["c"][:, 0].tolist() == xs and lines(axes)["c"][1, 1] == 1.1
    colors = {str(line.get_color()) for line in axes.get_lines()}
    assert len(colors) == 12
