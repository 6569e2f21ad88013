"""Echo state networks: the reservoir, and the read-out by ridge regression."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from tests.cases import quick_jit
from tests.cells.test_cells import B, D, H, T, draw, run

pytestmark = pytest.mark.usefixtures("x64")


def test_echo_state_by_hand() -> None:
    cell = r.echo_state(H, leak=0.3, bias_scale=1.0)
    params, h, xs = draw(cell)
    initial, ys = h, []
    for x in xs:
        h = 0.7 * h + 0.3 * np.tanh(x @ params["w_ih"] + h @ params["w_hh"] + params["b"])
        ys.append(h)
    _, got = run(cell, params, initial, xs)
    np.testing.assert_allclose(got, np.stack(ys), rtol=1e-12)


@pytest.mark.parametrize(
    "size, sparsity, dtype",
    [
        (1, 0.9, jnp.float32),
        (100, 0.9, jnp.float32),
        (40, 0.0, jnp.float64),
    ],
)
def test_the_reservoir_is_as_asked(size: int, sparsity: float, dtype: Any) -> None:
    with jax.enable_x64(dtype == jnp.float64):
        cell = r.echo_state(
            size, spectral_radius=1.2, sparsity=sparsity, input_scale=0.1, bias_scale=0.2
        )
        params = quick_jit(cell.init, static=1)(jax.random.key(size), D)
    w = np.asarray(params["w_hh"], float)
    assert params["w_hh"].dtype == dtype
    assert abs(np.linalg.eigvals(w)).max() == pytest.approx(1.2, rel=1e-6)
    assert ((w != 0).sum(axis=0) == max(1, round((1 - sparsity) * size))).all()
    for name, scale in (("w_ih", 0.1), ("b", 0.2)):
        assert abs(params[name]).max() <= scale
        assert size < 10 or abs(params[name]).max() > 0.9 * scale
    assert "b" not in r.echo_state(size).init(jax.random.key(0), D)


def test_only_a_read_out_learns() -> None:
    cell = r.echo_state(H)
    params, carry, xs = draw(cell)

    def loss(params: Any, carry: Any, xs: Any) -> Any:
        return (r.unroll(cell, params, carry, xs)[1] ** 2).sum()

    of_params, *of_rest = jax.grad(loss, (0, 1, 2))(
        jax.tree.map(jnp.asarray, params), jnp.asarray(carry), jnp.asarray(xs)
    )
    assert not any(leaf.any() for leaf in jax.tree.leaves(of_params))
    assert all(leaf.any() for leaf in of_rest)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"spectral_radius": -1.0}, "spectral_radius must be finite and not negative"),
        ({"sparsity": 1.0}, "sparsity must lie in 0 … 1"),
        ({"leak": 0.0}, "leak must lie in 0 … 1"),
        ({"input_scale": float("nan")}, "scale must be finite"),
    ],
)
def test_bad_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        r.echo_state(3, **options)


def by_normal_equations(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[Any, Any]:
    """With a column of ones for the bias, which is not penalised."""
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    held = penalty * np.diag([1.0] * x.shape[1] + [0.0])
    solution = np.linalg.solve(ones.T @ ones + held, ones.T @ y)
    return solution[:-1], solution[-1]


@pytest.mark.parametrize("batch_shape", [(), (2, 3)], ids=str)
@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_ridge_equals_numpy(batch_shape: tuple[int, ...], penalty: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 1, size=(20, *batch_shape, 4))
    y = rng.normal(-2, 1, size=(20, *batch_shape, 2))
    mask = rng.random((20, *batch_shape)) < 0.8
    kept = mask[5:]
    w, b = by_normal_equations(x[5:][kept], y[5:][kept], penalty)
    x[~mask], y[~mask] = np.nan, np.nan
    fit = quick_jit(partial(r.ridge, washout=5), static=())
    got = fit(x, y, penalty=penalty, mask=mask)
    np.testing.assert_allclose(got["w"], w, rtol=1e-10)
    np.testing.assert_allclose(got["b"], b, rtol=1e-10)


def test_ridge_keeps_the_digits_that_normal_equations_lose() -> None:
    """Features of condition 1e8, whose square is beyond float64."""
    rng = np.random.default_rng(1)
    q = np.linalg.qr(rng.normal(size=(50, 4)))[0]
    x = q * np.logspace(0, -8, 4)[None]
    x = x - x.mean(0)
    targets = x @ np.ones((4, 1))
    got = quick_jit(r.ridge, static=())(x, targets, penalty=0.0)
    np.testing.assert_allclose(got["w"], 1, rtol=1e-6)


def test_ridge_of_nothing_valid_is_an_error_and_nan_under_jit() -> None:
    arguments = jnp.ones((T, B, H)), jnp.ones((T, B, 1))
    ridge = partial(r.ridge, penalty=1.0, mask=jnp.zeros((T, B), bool))
    with pytest.raises(ValueError, match="leave no step to fit"):
        ridge(*arguments)
    fit = quick_jit(partial(r.ridge, penalty=1.0), static=())(
        *arguments, mask=jnp.zeros((T, B), bool)
    )
    assert np.isnan(fit["w"]).all() and np.isnan(fit["b"]).all()


@pytest.mark.parametrize(
    "targets, options, message",
    [
        ((T, 1), {"penalty": 1.0}, "do not fit"),
        ((T, B, 1), {"penalty": -1.0}, "penalty must be finite and at least 0"),
        ((T, B, 1), {"penalty": 1.0, "washout": T}, "washout of 6 leaves none of 6 steps"),
        ((T, B, 1), {"penalty": 1.0, "washout": -1}, "washout must be an integer"),
        ((T, B, 1), {"penalty": 1.0, "mask": jnp.ones(T, bool)}, "mask has shape"),
    ],
)
def test_bad_ridge(targets: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        r.ridge(jnp.ones((T, B, H)), jnp.ones(targets), **options)


def narma10(steps: int, batch_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Atiya and Parlos' benchmark: ten steps of memory and their products."""
    u = np.random.default_rng(0).uniform(0, 0.5, (steps, *batch_shape, 1))
    y = np.zeros_like(u)
    for t in range(10, steps):
        last = y[t - 10 : t]
        y[t] = 0.3 * last[-1] + 0.05 * last[-1] * last.sum(0) + 1.5 * u[t - 10] * u[t - 1] + 0.1
    return u, y


def test_narma10_is_predicted() -> None:
    cell = r.echo_state(150, spectral_radius=0.95, input_scale=0.3, bias_scale=0.2)

    @quick_jit
    def relative_error(washout: int, key: Any, u: Any, y: Any) -> Any:
        states = r.unroll(cell, cell.init(key, 1), None, u)[1]
        # Learned on one sequence, judged on another.
        readout = r.ridge(states[:, 0], y[:, 0], penalty=1e-8, washout=washout)
        error = (states[:, 1] @ readout["w"] + readout["b"][None] - y[:, 1])[washout:]
        return error.std() / y[washout:, 1].std()

    # The mean alone gives 1.
    assert relative_error(100, jax.random.key(0), *narma10(1500, (2,))) < 0.3
