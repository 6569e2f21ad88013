"""Networks that run on by themselves, beside a Python loop."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.recipes.mackey_glass import mackey_glass
from tests.cases import assert_close

W, B, D, L = 6, 3, 2, 5
MODELS: dict[str, tuple[Any, bool]] = {
    "echo state": (r.serial(r.recurrent(r.echo_state(8, leak=0.5)), r.linear(D)), False),
    "tagger": (r.sequence_tagger(D, r.recurrent(r.lstm(4)), input_size=D), True),
    "layer of no size": (r.residual(r.serial(r.recurrent(r.gru(4)), r.linear(D))), False),
    "truncated": (
        r.truncate(r.sequence_tagger(D, r.recurrent(r.gru(4)), input_size=D), r.sliding(1)),
        True,
    ),
}
WARMUP = jax.random.normal(jax.random.key(0), (W, B, D))


def _params(name: str) -> Any:
    model, whole = MODELS[name]
    return model.init(jax.random.key(1)) if whole else model.init(jax.random.key(1), D)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("masked", [True, False])
def test_it_equals_a_loop_of_single_steps(name: str, masked: bool) -> None:
    model, params = MODELS[name][0], jax.tree.map(lambda p: p.astype(float), _params(name))
    lengths = [W, 1, 3] if masked else [W] * B
    mask = r.length_mask(jnp.array(lengths), W) if masked else None
    xs = WARMUP.astype(float)
    xs = jnp.where(mask[..., None], xs, jnp.nan) if mask is not None else xs
    start = jax.tree.map(lambda c: c + 0.1, model.initial_carry((B,), params))
    carry, ys = r.run_freely(model, params, start, xs, length=L, mask=mask)
    assert ys.shape == (L, B, D)
    for row, length in enumerate(lengths):
        state = jax.tree.map(lambda c, row=row: c[row], start)
        for t in range(length):  # teacher forcing
            state, y = model.apply(params, state, xs[t : t + 1, row])
        outputs = [y[0]]
        for _ in range(L - 1):
            state, y = model.apply(params, state, y)
            outputs.append(y[0])
        assert_close(ys[:, row], jnp.stack(outputs), rtol=1e-9)
        assert_close(jax.tree.map(lambda c, row=row: c[row], carry), state, rtol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_it_goes_on_where_it_stopped(name: str) -> None:
    model, params = MODELS[name][0], _params(name)
    after, whole = r.run_freely(model, params, None, WARMUP, length=L)
    carry, first = r.run_freely(model, params, None, WARMUP, length=2)
    carry, second = r.run_freely(model, params, carry, first[-1:], length=L - 2)
    assert_close(jnp.concatenate([first, second]), whole, rtol=1e-5)
    assert_close(carry, after, rtol=1e-5)
    _, one = r.run_freely(model, params, None, WARMUP, length=1)
    assert_close(one, whole[:1], rtol=1e-6)


def test_without_a_batch_under_jit_and_with_a_gradient() -> None:
    model, params = MODELS["tagger"][0], _params("tagger")

    def last(params: Any, xs: Any) -> Any:
        return r.run_freely(model, params, None, xs, length=L)[1][-1].sum()

    value, slope = jax.jit(jax.value_and_grad(last))(params, WARMUP[:, 0])
    np.testing.assert_allclose(
        value, r.run_freely(model, params, None, WARMUP, length=L)[1][-1, 0].sum(), rtol=1e-5
    )
    ahead, back = (last({**params, "readout": {**params["readout"], "b": b}}, WARMUP[:, 0])
                   for b in (jnp.array([1e-2, 0.0]), jnp.array([-1e-2, 0.0])))  # fmt: skip
    np.testing.assert_allclose(slope["readout"]["b"][0], (ahead - back) / 2e-2, rtol=1e-2)
    with jax.disable_jit():
        np.testing.assert_allclose(last(params, WARMUP[:, 0]), value, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_an_echo_state_network_continues_mackey_glass() -> None:
    series = jnp.tanh(mackey_glass(jax.random.key(0), length=2200, rows=4) - 1)[..., None]
    model = r.sequence_tagger(
        1, r.recurrent(r.echo_state(200, leak=0.4, input_scale=0.6, bias_scale=0.1)), input_size=1
    )
    params = jax.tree.map(lambda p: p.astype(float), model.init(jax.random.key(2)))
    _, states = model.layer.apply(params["layer"], None, series[:2000])
    params["readout"] = r.ridge(states[:, :1], series[1:2001, :1], penalty=1e-12, washout=300)
    _, free = r.run_freely(model, params, None, series[:2001, 1:], length=84)
    error = jnp.sqrt(((free - series[2001:2085, 1:]) ** 2).mean()) / series.std()
    assert error < 0.02


@pytest.mark.parametrize(
    ("model", "warmup", "options", "message"),
    (
        (r.linear(D), WARMUP[:0], {}, "the warm-up is empty"),
        (r.linear(D), WARMUP.astype(int), {}, r"pass warmup\.astype\(float\), or continue token"),
        (r.linear(3), WARMUP, {}, "outputs of size 3 cannot be the next inputs of size 2"),
        (r.linear(D), WARMUP, {"length": 0}, "length must be an integer of at least 1"),
        (r.recurrent(r.gru(D), reverse=True), WARMUP, {}, "is not causal"),
        (r.sequence_classifier(D, r.linear(D), input_size=D), WARMUP, {}, "is not causal"),
        (r.gru(D), WARMUP, {}, "run_freely.. takes a layer or model, not GRU.*: wrap a cell"),
        (r.linear(D), WARMUP, {"mask": jnp.ones((W, B), bool).at[:, 1].set(False)}, "all masked"),
        (r.linear(D), WARMUP, {"mask": jnp.ones(W, bool)}, "the mask has shape"),
        (r.linear(D), jnp.ones(3), {}, "has no time axis"),
    ),
)
def test_bad_input(model: Any, warmup: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        r.run_freely(model, {}, None, warmup, **{"length": L, **options})
