"""Peepholes, projection and layer norm against their papers' equations in NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import rnn_jax
from tests.cases import quick_jit
from tests.cells.test_cells import H, draw, run, sigmoid

P = 3
pytestmark = pytest.mark.usefixtures("x64")

VARIANTS: dict[str, rnn_jax.Cell] = {
    "peepholes": rnn_jax.lstm(H, peepholes=True),
    "projected": rnn_jax.lstm(H, proj_size=P),
    "elman-norm": rnn_jax.elman(H, layer_norm=True),
    "gru-norm": rnn_jax.gru(H, layer_norm=True),
    "lstm-norm": rnn_jax.lstm(H, layer_norm=True),
}


def norm(a: np.ndarray, gain: np.ndarray, bias: Any = 0) -> np.ndarray:
    """Row by row, each with its own mean and standard deviation."""
    rows = [(row - row.mean()) / np.sqrt(row.var() + 1e-5) for row in a]
    return np.stack(rows) * gain + bias


def assert_runs(cell: Any, params: Any, carry: Any, xs: Any, expected: Any, ys: Any) -> None:
    got_carry, got = run(cell, params, carry, xs)
    np.testing.assert_allclose(got, np.stack(ys), rtol=1e-11)
    for a, b in zip(jax.tree.leaves(got_carry), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)


@pytest.mark.parametrize("second_bias", [False, True])
def test_peepholes_by_hand(second_bias: bool) -> None:
    cell = rnn_jax.lstm(H, peepholes=True, forget_bias=0.7, recurrent_bias=second_bias)
    params, carry, xs = draw(cell)
    h, c = carry
    p, ys = params["peephole"], []
    for x in xs:
        pre = x @ params["w_ih"] + params["b"] + h @ params["w_hh"] + params.get("b_hh", 0)
        i, f, g, o = np.split(pre, 4, axis=-1)
        f, i = f + p["f"] * c + 0.7, i + p["i"] * c
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o + p["o"] * c) * np.tanh(c)
        ys.append(h)
    assert_runs(cell, params, carry, xs, (h, c), ys)


def test_without_its_peepholes_it_is_an_lstm() -> None:
    cell, plain = rnn_jax.lstm(H, peepholes=True), rnn_jax.lstm(H)
    params = cell.init(jax.random.key(0), 2)
    assert not any(np.any(p) for p in params["peephole"].values())
    xs = jnp.ones((5, 2, 2))
    for a, b in zip(
        jax.tree.leaves(rnn_jax.unroll(cell, params, None, xs)),
        jax.tree.leaves(rnn_jax.unroll(plain, params, None, xs)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("second_bias", [False, True])
def test_projection_by_hand(second_bias: bool) -> None:
    cell = rnn_jax.lstm(H, proj_size=P, forget_bias=0.7, recurrent_bias=second_bias)
    params, carry, xs = draw(cell)
    h, c = carry
    assert (cell.output_size, h.shape[-1], c.shape[-1]) == (P, P, H)
    assert (params["w_hh"].shape, params["w_hr"].shape) == ((P, 4 * H), (H, P))
    ys = []
    for x in xs:
        pre = x @ params["w_ih"] + params["b"] + h @ params["w_hh"] + params.get("b_hh", 0)
        i, f, g, o = np.split(pre, 4, axis=-1)
        c = sigmoid(f + 0.7) * c + sigmoid(i) * np.tanh(g)
        h = (sigmoid(o) * np.tanh(c)) @ params["w_hr"]
        ys.append(h)
    assert_runs(cell, params, carry, xs, (h, c), ys)


def test_fresh_projection_is_uniform_in_one_over_root_units() -> None:
    w_hr = rnn_jax.lstm(100, proj_size=20).init(jax.random.key(0), 2)["w_hr"]
    assert 0.099 < float(jnp.abs(w_hr).max()) <= 0.1


@pytest.mark.parametrize("bias", [False, True])
def test_layer_norm_elman_by_hand(bias: bool) -> None:
    cell = rnn_jax.elman(H, layer_norm=True, bias=bias)
    params, carry, xs = draw(cell)
    h, ys = carry, []
    for x in xs:
        summed = x @ params["w_ih"] + h @ params["w_hh"]
        h = np.tanh(norm(summed, params["gain"], params.get("b", 0)))
        ys.append(h)
    assert_runs(cell, params, carry, xs, h, ys)


@pytest.mark.parametrize("bias", [False, True])
def test_layer_norm_gru_by_hand(bias: bool) -> None:
    """The paper's equations, whose update gate is one less ours: so the sign of its norms is."""
    cell = rnn_jax.gru(H, layer_norm=True, bias=bias)
    params, carry, xs = draw(cell)
    assert ("b" in params) == ("b_hh" in params) == bias
    b, b_hh = (params.get(name, np.zeros(3 * H)) for name in ("b", "b_hh"))
    sign, gates, new = np.repeat([1, -1], H), slice(0, 2 * H), slice(2 * H, 3 * H)

    def normed(a: Any, w: str, gain: str, bias: Any) -> Any:
        joint = norm(a @ params[w][:, gates], sign * params[gain][gates], sign * bias[gates])
        return joint, norm(a @ params[w][:, new], params[gain][new], bias[new])

    h, ys = carry, []
    for x in xs:
        (x_gates, x_new), (h_gates, h_new) = (
            normed(x, "w_ih", "gain_ih", b),
            normed(h, "w_hh", "gain_hh", b_hh),
        )
        r, z = np.split(sigmoid(x_gates + h_gates), 2, axis=-1)
        h = (1 - z) * h + z * np.tanh(x_new + r * h_new)
        ys.append(h)
    assert_runs(cell, params, carry, xs, h, ys)


@pytest.mark.parametrize("second_bias", [False, True])
def test_layer_norm_lstm_by_hand(second_bias: bool) -> None:
    cell = rnn_jax.lstm(H, layer_norm=True, forget_bias=0.7, recurrent_bias=second_bias)
    params, carry, xs = draw(cell)
    (h, c), ys = carry, []
    for x in xs:
        pre = norm(h @ params["w_hh"], params["gain_hh"], params.get("b_hh", 0))
        pre = pre + norm(x @ params["w_ih"], params["gain_ih"], params["b"])
        i, f, g, o = np.split(pre, 4, axis=-1)
        c = sigmoid(f + 0.7) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(norm(c, params["gain_c"], params["b_c"]))
        ys.append(h)
    assert_runs(cell, params, carry, xs, (h, c), ys)


def test_fresh_norms_have_gain_one_and_bias_zero() -> None:
    for name in ("elman-norm", "gru-norm", "lstm-norm"):
        params = VARIANTS[name].init(jax.random.key(0), 2)
        for key, leaf in params.items():
            if not key.startswith("w_"):
                np.testing.assert_array_equal(leaf, float(key.startswith("gain")))
    params = rnn_jax.lstm(H, layer_norm=True, bias=False).init(jax.random.key(0), 2)
    assert not {"b", "b_c"} & set(params)


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_against_finite_differences(name: str) -> None:
    cell = VARIANTS[name]
    params, carry, xs = jax.tree.map(jnp.asarray, draw(cell))

    def loss(params: Any, carry: Any, xs: Any) -> Any:
        carry, ys = rnn_jax.unroll(cell, params, carry, xs)
        return (ys**2).sum() + sum((c**3).sum() for c in jax.tree.leaves(carry))

    check_grads(jax.jit(loss), (params, carry, xs[:3]), order=1, modes=["rev"], rtol=1e-4)


def test_a_learned_carry_of_a_projection_has_two_sizes() -> None:
    params = rnn_jax.lstm(H, proj_size=P, learned_carry=True).init(jax.random.key(0), 2)
    assert [c.shape for c in params["carry"]] == [(P,), (H,)]


@pytest.mark.parametrize("name", VARIANTS)
def test_bfloat16_keeps_statistics_and_state_in_float32(name: str) -> None:
    cell = VARIANTS[name]
    unroll = quick_jit(rnn_jax.unroll)
    drawn, carry, xs = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), draw(cell))
    narrow = jax.tree.map(lambda a: a.astype(jnp.bfloat16), drawn)
    carry_of_narrow, ys = unroll(cell, narrow, carry, xs)
    assert ys.dtype == jnp.bfloat16
    assert {c.dtype for c in jax.tree.leaves(carry_of_narrow)} == {jnp.dtype("float32")}
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), narrow)
    expected = unroll(cell, wide, carry, xs)[1]
    # The factors of every product have 8 bits.
    np.testing.assert_allclose(ys.astype(jnp.float32), expected, atol=0.05)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: rnn_jax.lstm(3, peepholes=True, layer_norm=True), "no variant with peepholes and"),
        (lambda: rnn_jax.lstm(3, peepholes=True, proj_size=2), "no variant with peepholes and pro"),
        (lambda: rnn_jax.lstm(3, proj_size=2, layer_norm=True), "with proj_size and layer_norm"),
        (lambda: rnn_jax.lstm(3, proj_size=0), "proj_size must be an integer of at least 1"),
        (lambda: rnn_jax.lstm(3, proj_size=2, forget_bias=float("inf")), "forget_bias must be"),
        (lambda: rnn_jax.gru(3, reset="before", layer_norm=True), "take reset='after'"),
        (lambda: rnn_jax.elman(3, recurrent_bias=True, layer_norm=True), "no recurrent_bias"),
    ],
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
