"""How fresh parameters are drawn: each named way, functions, and other libraries' settings."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax
from rnn_jax.cells.initializers import INITIALIZERS

D, H = 300, 40
KEY = jax.random.key(3)
FACTORIES: dict[str, tuple[Any, int]] = {
    "elman": (rnn_jax.elman, 1),
    "gru": (rnn_jax.gru, 3),
    "lstm": (rnn_jax.lstm, 4),
}


def fresh(kind: str = "lstm", **options: Any) -> Any:
    return FACTORIES[kind][0](H, **options).init(KEY, D)


def by_gate(matrix: Any, gates: int = 4) -> list[np.ndarray]:
    return np.split(np.asarray(matrix), gates, axis=-1)


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("uniform", 1 / math.sqrt(D)),
        ("uniform_fan_out", 1 / math.sqrt(H)),
        ("glorot_uniform", math.sqrt(6 / (D + H))),
    ],
)
@pytest.mark.parametrize("kind", FACTORIES)
def test_uniform_within_its_bound_in_every_gate(kind: str, name: str, bound: float) -> None:
    params = fresh(kind, w_ih_init=name)
    for gate in by_gate(params["w_ih"], FACTORIES[kind][1]):
        assert 0.99 * bound < np.abs(gate).max() <= bound * (1 + 1e-6)
        assert gate.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(
    ("name", "std"), [("glorot_normal", math.sqrt(2 / (D + H))), ("lecun_normal", 1 / math.sqrt(D))]
)
def test_normal_with_its_deviation_in_every_gate(name: str, std: float) -> None:
    for gate in by_gate(fresh(w_ih_init=name)["w_ih"]):
        assert gate.std() == pytest.approx(std, rel=0.05)
        assert abs(gate.mean()) < 0.05 * std


@pytest.mark.parametrize("kind", FACTORIES)
def test_orthogonal_in_every_gate(kind: str) -> None:
    gates = by_gate(fresh(kind, w_hh_init="orthogonal")["w_hh"], FACTORIES[kind][1])
    for gate in gates:
        np.testing.assert_allclose(gate.T @ gate, np.eye(H), atol=1e-5)
    assert all(np.abs(a - gates[0]).max() > 0.1 for a in gates[1:])


def test_every_name_draws_every_matrix_and_leaves_the_others() -> None:
    default = fresh()
    for name in INITIALIZERS:
        params = fresh(w_hh_init=name)
        # A square matrix has one fan.
        same = name in ("uniform", "uniform_fan_out")
        assert np.array_equal(params["w_hh"], default["w_hh"]) == same
        np.testing.assert_array_equal(params["w_ih"], default["w_ih"])
        assert np.any(np.asarray(params["w_hh"])) == (name != "zeros")


def test_a_function_is_given_one_gate_at_a_time() -> None:
    shapes = []

    def counted(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        shapes.append(shape)
        return np.full(shape, len(shapes))

    params = fresh(w_ih_init=counted, b_init=counted)
    assert shapes == [(D, H)] * 4 + [(H,)] * 4
    np.testing.assert_array_equal(params["w_ih"][0], np.repeat([1, 2, 3, 4], H))
    assert params["w_ih"].dtype == params["b"].dtype == jnp.float32


@pytest.mark.parametrize("kind", FACTORIES)
def test_a_second_bias(kind: str) -> None:
    params = fresh(kind, recurrent_bias=True, b_init="uniform_fan_out")
    assert params["b"].shape == params["b_hh"].shape == (FACTORIES[kind][1] * H,)
    assert not np.allclose(params["b"], params["b_hh"])
    assert ("b_hh" in fresh(kind)) == (kind == "gru")
    assert "b_hh" not in fresh(kind, recurrent_bias=False)
    assert set(fresh(kind, bias=False)) == {"w_ih", "w_hh"}


@pytest.mark.parametrize("kind", FACTORIES)
def test_a_learned_carry_is_zero_at_first_and_has_a_gradient(kind: str) -> None:
    cell = FACTORIES[kind][0](3, learned_carry=True)
    params, xs = cell.init(KEY, 2), jnp.ones((4, 5, 2))
    assert not any(np.any(c) for c in jax.tree.leaves(params["carry"]))
    carry = cell.initial_carry((5,), jax.tree.map(lambda p: p + 1, params))
    assert {c.shape for c in jax.tree.leaves(carry)} == {(5, 3)}
    assert all((c == 1).all() for c in jax.tree.leaves(carry))
    grads = jax.grad(lambda p: rnn_jax.unroll(cell, p, None, xs)[1].sum())(params)["carry"]
    assert all(np.all(g != 0) for g in jax.tree.leaves(grads))


def test_pytorchs_defaults_can_be_said() -> None:
    """Everything uniform in ±1/√H, and two biases."""
    how: dict[str, Any] = dict.fromkeys(("w_ih_init", "w_hh_init", "b_init"), "uniform_fan_out")
    for kind in FACTORIES:
        params = fresh(kind, recurrent_bias=True, **how)
        assert set(params) == {"w_ih", "w_hh", "b", "b_hh"}
        for leaf in params.values():
            assert 0.9 / math.sqrt(H) < np.abs(leaf).max() <= 1 / math.sqrt(H)


def test_flaxs_defaults_can_be_said() -> None:
    params = fresh(w_ih_init="lecun_normal", w_hh_init="orthogonal")
    expected = jax.nn.initializers.lecun_normal()(KEY, (D, H))
    for gate in by_gate(params["w_ih"]):
        assert gate.std() == pytest.approx(float(expected.std()), rel=0.05)
        # Truncated at two deviations.
        assert np.abs(gate).max() == pytest.approx(float(jnp.abs(expected).max()), rel=0.01)
    assert not np.any(params["b"])


def test_kerass_defaults_can_be_said() -> None:
    """Keras' fans are those of the whole matrix, of all gates: a function can say that."""
    bound = math.sqrt(6 / (D + 4 * H))

    def whole(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    cell = rnn_jax.lstm(H, forget_bias=1.0, w_ih_init=whole, w_hh_init="orthogonal")
    assert 0.99 * bound < np.abs(cell.init(KEY, D)["w_ih"]).max() <= bound
    assert cell == rnn_jax.lstm(H, forget_bias=1.0, w_ih_init=whole, w_hh_init="orthogonal")
    assert isinstance(hash(cell), int)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"w_ih_init": "he"}, "w_ih_init must be one of uniform, .* not 'he'"),
        ({"w_hh_init": None}, "w_hh_init must be one of"),
        ({"w_hh_init": ["uniform"]}, "w_hh_init must be one of"),
        ({"b_init": "orthogonal"}, "b_init must be one of uniform, uniform_fan_out, zeros, or"),
        ({"b_init": 0.0}, "b_init must be one of"),
    ],
)
def test_bad_names(options: Any, message: str) -> None:
    for make, _ in FACTORIES.values():
        with pytest.raises(ValueError, match=message):
            make(H, **options)


def test_a_function_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"returned shape \(2,\) for \(40,\): return an array"):
        fresh(b_init=lambda key, shape, dtype: jnp.zeros(2))
