"""Cells against their papers' equations in NumPy, gate by gate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax

T, B, D, H = 6, 2, 3, 4
pytestmark = pytest.mark.usefixtures("x64")


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def draw(cell: rnn_jax.Cell, seed: int = 0) -> tuple[dict[str, Any], Any, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
    zeros = cell.initial_carry((B,))
    carry = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), zeros)
    return params, carry, rng.normal(size=(T, B, D))


def run(cell: rnn_jax.Cell, params: Any, carry: Any, xs: np.ndarray) -> Any:
    return rnn_jax.unroll(
        cell, jax.tree.map(jnp.asarray, params), jax.tree.map(jnp.asarray, carry), jnp.asarray(xs)
    )


@pytest.mark.parametrize("second_bias", [False, True])
def test_lstm_by_hand(second_bias: bool) -> None:
    cell = rnn_jax.lstm(H, forget_bias=0.7)
    params, (h, c), xs = draw(cell)
    if second_bias:
        params["b_hh"] = np.random.default_rng(9).normal(size=4 * H)
    ys = []
    carry = (h, c)
    for x in xs:
        pre = x @ params["w_ih"] + params["b"] + h @ params["w_hh"] + params.get("b_hh", 0)
        i, f, g, o = np.split(pre, 4, axis=-1)
        c = sigmoid(f + 0.7) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    (got_h, got_c), got = run(cell, params, carry, xs)
    np.testing.assert_allclose(got, np.stack(ys), rtol=1e-12)
    np.testing.assert_allclose(got_h, h, rtol=1e-12)
    np.testing.assert_allclose(got_c, c, rtol=1e-12)


@pytest.mark.parametrize("reset", ["after", "before"])
def test_gru_by_hand(reset: Any) -> None:
    cell = rnn_jax.gru(H, reset=reset)
    params, h, xs = draw(cell)
    assert ("b_hh" in params) == (reset == "after")
    initial, ys = h, []
    w, u = (np.split(params[name], 3, axis=-1) for name in ("w_ih", "w_hh"))
    b = np.split(params["b"], 3)
    d = np.split(params.get("b_hh", np.zeros(3 * H)), 3)
    for x in xs:
        r = sigmoid(x @ w[0] + b[0] + h @ u[0] + d[0])
        z = sigmoid(x @ w[1] + b[1] + h @ u[1] + d[1])
        inner = r * (h @ u[2] + d[2]) if reset == "after" else (r * h) @ u[2]
        h = (1 - z) * np.tanh(x @ w[2] + b[2] + inner) + z * h
        ys.append(h)
    carry, got = run(cell, params, initial, xs)
    np.testing.assert_allclose(got, np.stack(ys), rtol=1e-12)
    np.testing.assert_allclose(carry, h, rtol=1e-12)


@pytest.mark.parametrize("activation", [jnp.tanh, jax.nn.relu, jax.nn.sigmoid])
def test_elman_by_hand(activation: Any) -> None:
    cell = rnn_jax.elman(H, activation=activation)
    params, h, xs = draw(cell)
    initial, ys = h, []
    for x in xs:
        h = np.asarray(activation(x @ params["w_ih"] + h @ params["w_hh"] + params["b"]))
        ys.append(h)
    _, got = run(cell, params, initial, xs)
    np.testing.assert_allclose(got, np.stack(ys), rtol=1e-12)


def test_no_bias_means_no_bias_parameters() -> None:
    for make in (rnn_jax.elman, rnn_jax.lstm, rnn_jax.gru):
        cell = make(H, bias=False)
        assert set(cell.init(jax.random.key(0), D)) == {"w_ih", "w_hh"}


def test_fresh_matrices_are_uniform_in_one_over_root_fan_in() -> None:
    params = rnn_jax.lstm(50).init(jax.random.key(1), 200)
    for name, fan_in in (("w_ih", 200), ("w_hh", 50)):
        bound = 1 / np.sqrt(fan_in)
        largest = float(jnp.abs(params[name]).max())
        assert 0.99 * bound < largest <= bound
        assert float(params[name].std()) == pytest.approx(bound / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: rnn_jax.lstm(0), "hidden_size must be an integer of at least 1"),
        (lambda: rnn_jax.lstm(3, forget_bias=float("nan")), "forget_bias must be finite"),
        (lambda: rnn_jax.gru(-1), "hidden_size must be an integer of at least 1"),
        (lambda: rnn_jax.gru(3, reset="never"), "reset must be 'after' or 'before'"),  # type: ignore[arg-type]
    ],
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
