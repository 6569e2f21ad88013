"""The recipe echo-state: the series, the closed loop, and what a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax
from rnn_jax.recipes import create_recipe_folder, echo_state
from rnn_jax.recipes.mackey_glass import mackey_glass


@pytest.mark.usefixtures("x64")
def test_the_series_is_the_delay_equation_step_by_step() -> None:
    key = jax.random.key(3)
    ys = mackey_glass(key, length=30, rows=2, delay=5, washout=7)
    past = 1.2 + 0.2 * jax.random.uniform(key, (50, 2), minval=-0.5, maxval=0.5)
    values = list(np.asarray(past))
    for _ in range(37 * 10):
        y, delayed = values[-1], values[-50]
        values.append(y + (0.2 * delayed / (1 + delayed**10) - 0.1 * y) / 10)
    np.testing.assert_allclose(ys, np.array(values)[50:][9::10][7:], rtol=1e-12)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> rnn_jax.EchoState:
    sizes = {"TRAIN": 300, "WASHOUT": 50, "DRIVEN": 60, "FREE": 90, "TRIALS": 3}
    for name, size in sizes.items():
        monkeypatch.setattr(echo_state, name, size)
    cell = rnn_jax.echo_state(40, leak=0.5, bias_scale=0.2)
    network = echo_state.Network("a small one", cell, 1e-3)
    monkeypatch.setattr(echo_state, "NETWORKS", (network,))
    return cell


@pytest.mark.usefixtures("x64")
def test_a_free_run_feeds_predictions_back(small: rnn_jax.EchoState) -> None:
    key = jax.random.key(1)
    series = mackey_glass(jax.random.key(0), length=301, rows=3, washout=50)
    one_step, free = echo_state.train_and_run_freely(small, key, series, 1e-9)

    params = jax.tree.map(lambda p: np.asarray(p, float), small.init(key, 1))
    squashed = np.tanh(np.asarray(series) - 1)

    def step(h: np.ndarray, x: float) -> np.ndarray:
        z = x * params["w_ih"][0] + h @ params["w_hh"] + params["b"]
        return 0.5 * h + 0.5 * np.tanh(z)

    h, rows = np.zeros(40), []
    for x in squashed[:300, 0]:
        h = step(h, x)
        rows.append([*h, x])
    X, y = np.array(rows)[50:], squashed[51:301, 0]
    centred = X - X.mean(0)
    w = np.linalg.solve(centred.T @ centred + 1e-9 * np.eye(41), centred.T @ (y - y.mean()))
    b = y.mean() - X.mean(0) @ w
    np.testing.assert_allclose(one_step, np.sqrt(np.mean((X @ w + b - y) ** 2)), rtol=1e-3)
    for row in range(2):
        h = np.zeros(40)
        for x in squashed[:60, 1 + row]:
            h = step(h, x)
        for t in range(5):
            x = np.array([*h, x]) @ w + b
            h = step(h, x)
            np.testing.assert_allclose(free[t, row], 1 + np.arctanh(x), rtol=1e-3)


@pytest.mark.usefixtures("small")
def test_a_run_leaves_history_figures_and_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = create_recipe_folder(str(tmp_path / "run"))
    echo_state.run(echo_state.Options(draws=2, penalty=1e-9), folder)
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"history.jsonl", "error.png", "free_run.png", "table.md"}
    rows = [json.loads(row) for row in (folder.path / "history.jsonl").read_text().splitlines()]
    assert [row["draw"] for row in rows] == [0, 1]
    assert all(row["nrmse84"] > 0 for row in rows)
    printed = capsys.readouterr().out
    assert "| published" in printed and "1.0e-03 (10^-3.00)" in printed
    assert jnp.zeros(()).dtype == jnp.float32  # float64 stays inside


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="--draws must be at least 1"):
        echo_state.Options(draws=0)
    with pytest.raises(ValueError, match="--penalty must be finite and above 0"):
        echo_state.Options(penalty=0.0)
