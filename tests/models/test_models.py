"""Members as values: equal, hashable, printable, static under jit; their parameters and sizes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from tests.cases import CASES, SIZE, Case, every_case


def rebuilt(member: Any) -> Any:
    """An equal member made anew, all the way down."""
    if isinstance(member, tuple):
        return tuple(rebuilt(m) for m in member)
    if not dataclasses.is_dataclass(member) or isinstance(member, type):
        return member
    fields = {f.name: rebuilt(getattr(member, f.name)) for f in dataclasses.fields(member)}
    return type(member)(**fields)


@every_case
def test_members_are_frozen_values(case: Case) -> None:
    again = rebuilt(case.member)
    assert again is not case.member
    assert again == case.member and hash(again) == hash(case.member)
    assert repr(again) == repr(case.member)
    assert sum(case.member == other.member for other in CASES) == 1
    for field in dataclasses.fields(case.member):
        assert field.name in repr(case.member)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(case.member, field.name, None)


def test_static_arguments_do_not_retrace() -> None:
    traces: list[Any] = []

    def run(member: Any, params: Any, xs: Any) -> Any:
        traces.append(member)
        return member.apply(params, None, xs)[1]

    jitted = jax.jit(run, static_argnums=0)

    def make(k: int) -> Any:
        layer = r.serial(r.recurrent(r.elman(3)), r.dropout(0.5), r.recurrent(r.elman(2)))
        return r.truncate(r.language_model(5, layer, embedding_size=4), r.chunked(k))

    params, xs = make(2).init(jax.random.key(0)), jnp.zeros((3, 2), int)
    for _ in range(3):
        jitted(make(2), params, xs)
    assert len(traces) == 1
    jitted(make(3), params, xs)
    assert len(traces) == 2


@every_case
def test_members_fulfil_their_protocol(case: Case) -> None:
    assert isinstance(case.member, r.Layer)  # a model has all that a layer has
    params, xs = case.init(), case.inputs(4, (2, 3))
    carry, ys = jax.eval_shape(case.member.apply, params, None, xs)
    assert ys.shape == (4, 2, 3, case.member.output_size)
    initial = jax.eval_shape(lambda: case.member.initial_carry((2, 3), params))
    assert carry == initial
    path = getattr(case.member, "input_table", None)
    if path is not None:
        table = params
        for name in path:
            table = table[name]
        assert table.shape[0] == SIZE


def test_initial_parameters_are_the_references() -> None:
    """Uniform in ±1/√fan-in, biases zero, every matrix its own draw."""
    V, H = 400, 50
    model = r.language_model(V, r.recurrent(r.elman(H)))
    params = model.init(jax.random.key(0))
    layer, readout = params["layer"], params["readout"]
    for matrix, fan_in in ((layer["w_ih"], V), (layer["w_hh"], H), (readout["w"], H)):
        bound = 1 / math.sqrt(fan_in)
        assert 0.99 * bound < np.abs(matrix).max() <= bound
        # The deviation of a uniform draw, to four of its standard errors.
        error = 4 / math.sqrt(matrix.size)
        assert abs(float(np.std(matrix)) / (bound / math.sqrt(3)) - 1) < error
        assert abs(float(np.mean(matrix))) < bound * error
    assert not np.any(layer["b"]) and not np.any(readout["b"])
    assert not np.allclose(layer["w_hh"][:, :3] * math.sqrt(H), readout["w"][:, :3] * math.sqrt(H))
    again, other = model.init(jax.random.key(0)), model.init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, again, params)
    assert not np.allclose(other["layer"]["w_ih"], layer["w_ih"])


def test_elman_by_hand() -> None:
    rng = np.random.default_rng(0)
    w_ih, w_hh, b, h = (rng.normal(size=s) for s in ((5, 3), (3, 3), (3,), (2, 3)))
    xs = rng.normal(size=(4, 2, 5))
    functions: tuple[tuple[Any, Any], ...] = (
        (jnp.tanh, np.tanh),
        (jax.nn.relu, lambda z: np.maximum(z, 0)),
        (jax.nn.sigmoid, lambda z: 1 / (1 + np.exp(-z))),
    )
    with jax.enable_x64(True):
        params = {"w_ih": jnp.asarray(w_ih), "w_hh": jnp.asarray(w_hh), "b": jnp.asarray(b)}
        for ours, theirs in functions:
            expected, state = [], h
            for x in xs:
                state = theirs(x @ w_ih + state @ w_hh + b)
                expected.append(state)
            cell = r.elman(3, activation=ours)
            carry, ys = r.unroll(cell, params, jnp.asarray(h), jnp.asarray(xs))
            np.testing.assert_allclose(ys, expected, rtol=1e-12)
            np.testing.assert_array_equal(carry, ys[-1])


def test_serial_hands_outputs_up_and_noise_differs_by_layer() -> None:
    stack = r.serial(r.recurrent(r.elman(3)), r.recurrent(r.elman(4)))
    params, xs = stack.init(jax.random.key(0), 5), jnp.ones((4, 2, 5))
    carry, ys = stack.apply(params, None, xs)
    c0, middle = r.recurrent(r.elman(3)).apply(params["0"], None, xs)
    c1, top = r.recurrent(r.elman(4)).apply(params["1"], None, middle)
    jax.tree.map(np.testing.assert_array_equal, (carry, ys), ((c0, c1), top))
    # Were the two masks one, an entry would be 0 or 4.
    _, twice = r.serial(r.dropout(0.5), r.dropout(0.5)).apply(
        {"0": {}, "1": {}}, None, jnp.ones((1, 1000)), key=jax.random.key(0)
    )
    assert 0.18 < float((twice > 0).mean()) < 0.32  # 1/4, five deviations of 0.014


def test_dropout_rate_scale_and_steps() -> None:
    xs = jnp.ones((50, 4, 20))
    _, ys = r.dropout(0.25).apply({}, (), xs, key=jax.random.key(0))
    np.testing.assert_allclose(np.unique(ys), [0, 1 / 0.75], rtol=1e-6)
    assert abs(float((ys == 0).mean()) - 0.25) < 0.03  # 4000 draws: deviation 0.007
    assert len({np.asarray(step).tobytes() for step in ys}) == 50
    np.testing.assert_array_equal(r.dropout(0.25).apply({}, (), xs)[1], xs)
    np.testing.assert_array_equal(r.dropout(0.0).apply({}, (), xs, key=jax.random.key(0))[1], xs)


CELL = r.elman(3)
ANY: Any = r  # for calls that the types already forbid


@pytest.mark.parametrize(
    ("make", "message"),
    (
        (lambda: r.elman(0), "hidden_size must be an integer of at least 1, not 0"),
        (lambda: ANY.elman(2.5), r"hidden_size must be an integer of at least 1, not 2\.5"),
        (lambda: r.elman(True), "hidden_size must be an integer"),
        (lambda: CELL.init(jax.random.key(0), 0), "input_size must be an integer of at least 1"),
        (lambda: ANY.recurrent(r.recurrent(CELL)), "recurrent.. takes a cell such as elman"),
        (lambda: ANY.recurrent(type(CELL)), "recurrent.. takes a cell such as elman"),
        (
            lambda: r.recurrent(CELL).apply({}, None, jnp.ones((2, 1, 3))),
            "lack w_ih and w_hh: pass",
        ),
        (lambda: r.serial(), "serial.. needs at least one layer"),
        (lambda: ANY.serial(CELL), "serial.. takes a layer, not Elman.*: wrap a cell"),
        (lambda: r.dropout(1.0), r"the dropout rate must lie in \[0, 1\), not 1\.0"),
        (lambda: r.dropout(-0.1), "the dropout rate must lie"),
        (lambda: r.dropout(float("nan")), "the dropout rate must lie"),
        (lambda: r.language_model(0, r.recurrent(CELL)), "vocab_size must be an integer"),
        (lambda: r.language_model(-5, r.recurrent(CELL)), "at least 1, not -5"),
        (lambda: ANY.language_model(5, CELL), "takes a layer, not Elman.*: wrap a cell"),
        (
            lambda: r.language_model(5, r.recurrent(CELL), embedding_size=0),
            "embedding_size must be an integer of at least 1",
        ),
        (
            lambda: r.language_model(5, r.recurrent(CELL)).apply({}, None, jnp.ones((3, 5))),
            "reads token ids, integers, not float32",
        ),
        (
            lambda: r.language_model(5, r.recurrent(CELL)).apply(
                {}, None, jnp.zeros((3, 2), int), mask=jnp.ones((3,), bool)
            ),
            r"the mask has shape \(3,\)",
        ),
    ),
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
