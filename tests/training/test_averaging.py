"""Averages of the parameters against sums by hand and optax, inside training steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from tests.cases import assert_close

MODEL = r.language_model(7, r.recurrent(r.elman(3)))
TOKENS = np.random.default_rng(0).integers(0, 7, (6, 5, 2))
DATA = r.Windows(jnp.asarray(TOKENS[:, :-1]), jnp.asarray(TOKENS[:, 1:]))
ADAM = optax.inject_hyperparams(optax.adam)(learning_rate=0.1)


def batch(index: int) -> r.Batch:
    return r.Batch(DATA.inputs[index], DATA.targets[index])


def iterates(optimizer: Any, params: Any, count: int) -> list[Any]:
    """The parameters after each step without an average, the first ones in front."""
    state = r.init_train_state(MODEL, optimizer, params)
    step, seen = jax.jit(r.make_train_step(MODEL, optimizer)), [params]
    for index in range(count):
        state, _ = step(state, batch(index))
        seen.append(state.params)
    return seen


def weighted(weights: Any, trees: Any) -> Any:
    """``Σ weights · trees``, in NumPy."""
    return jax.tree.map(
        lambda *leaves: sum(w * np.asarray(x) for w, x in zip(weights, leaves, strict=True)), *trees
    )


@pytest.mark.parametrize(
    ("inside", "decay"),
    [(ADAM, 0.7), (r.sgd(0.5), 0.0), (r.sgd(0.5), 0.9999)],
    ids=["adam", "newest", "long"],
)
def test_ema_is_the_unbiased_mean_of_the_iterates(inside: Any, decay: float, x64: None) -> None:
    params = jax.tree.map(lambda p: p.astype(jnp.float64), MODEL.init(jax.random.key(0)))
    seen = iterates(inside, params, 6)
    optimizer = r.ema(inside, decay)
    state = r.init_train_state(MODEL, optimizer, jax.tree.map(jnp.copy, params))
    assert_close(r.averaged(state.opt_state, params), params)
    state, _ = r.make_train_steps(r.make_train_step(MODEL, optimizer))(state, DATA, 0, 6)
    assert_close(state.params, seen[-1])
    weights = np.array([decay ** (6 - i) for i in range(1, 7)])
    expected = weighted(weights / weights.sum(), seen[1:])
    assert_close(r.averaged(state.opt_state, state.params), expected)

    oracle = optax.ema(decay)
    memory = oracle.init(params)
    for iterate in seen[1:]:
        smoothed, memory = oracle.update(iterate, memory)
    assert_close(r.averaged(state.opt_state, state.params), smoothed, rtol=1e-8)


def test_asgd_is_the_mean_of_the_iterates_from_the_trigger_on(x64: None) -> None:
    params = jax.tree.map(lambda p: p.astype(jnp.float64), MODEL.init(jax.random.key(0)))
    seen = iterates(r.sgd(0.5), params, 6)
    optimizer = r.asgd(r.sgd(0.5))
    state = r.init_train_state(MODEL, optimizer, jax.tree.map(jnp.copy, params))
    run = r.make_train_steps(r.make_train_step(MODEL, optimizer))
    state, _ = run(state, DATA, 0, 2)
    jax.tree.map(
        np.testing.assert_array_equal, r.averaged(state.opt_state, state.params), state.params
    )
    begin = r.start_averaging(1)
    state = state._replace(opt_state=begin([3.0, 2.0, 4.0], state.opt_state))
    jax.tree.map(
        np.testing.assert_array_equal, r.averaged(state.opt_state, state.params), state.params
    )
    state, _ = run(state, DATA, 2, 4)
    # It begins once: another trigger changes nothing.
    state = state._replace(opt_state=begin([3.0, 2.0, 4.0, 5.0], state.opt_state))
    state, _ = run(state, DATA, 4, 6)
    assert_close(state.params, seen[6])
    assert_close(r.averaged(state.opt_state, state.params), weighted([1 / 5] * 5, seen[2:]))
    assert int(state.opt_state.averaged_steps) == 5


@pytest.mark.parametrize("wrap", [r.asgd, lambda inside: r.ema(inside, 0.9)], ids=["asgd", "ema"])
def test_wrapped_plain_descent_updates_every_row(wrap: Any) -> None:
    optimizer = wrap(r.sgd(0.5))
    assert not isinstance(optimizer, r.PlainSGD)
    assert float(r.learning_rate(optimizer.init({"w": jnp.ones(2)}))) == 0.5


def test_what_an_optimizer_needs_passes_through() -> None:
    seen: dict[str, Any] = {}

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        seen.update(extra)
        return updates, state

    inside = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    for optimizer in (r.ema(inside, 0.5), r.asgd(inside)):
        seen.clear()
        state = r.init_train_state(MODEL, optimizer, MODEL.init(jax.random.key(0)))
        jax.eval_shape(r.make_train_step(MODEL, optimizer), state, batch(0))
        assert set(seen) == {"value", "grad", "value_fn"}


def test_averages_have_digits_and_arrays_of_their_own() -> None:
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    for optimizer in (r.ema(optax.sgd(0.1), 0.999), r.asgd(optax.sgd(0.1))):
        state = optimizer.init(params)
        assert state.average["w"].dtype == jnp.float32
        assert r.averaged(state, params)["w"].dtype == jnp.bfloat16
        params32 = {"w": jnp.ones(3)}
        state = optimizer.init(params32)
        assert state.average["w"] is not params32["w"]
        _, state = optimizer.update(params, optimizer.init(params), params)
        assert state.average["w"].dtype == jnp.float32


def test_there_may_be_no_average_but_not_two() -> None:
    params = {"average": jnp.ones(2)}  # a parameter's name is not a field's
    state = optax.adam(0.1).init(params)
    assert r.averaged(state, params) is params
    both = r.asgd(r.ema(optax.sgd(0.1), 0.5)).init(params)
    with pytest.raises(ValueError, match=r"holds 2 averages.* wrap the whole optimiser in one"):
        r.averaged(both, params)
    inside = optax.MultiSteps(r.ema(optax.adam(0.1), 0.5), 2).init(params)
    np.testing.assert_array_equal(r.averaged(inside, params)["average"], params["average"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: r.ema(optax.sgd(0.1), 1.0), r"decay must lie in \[0, 1\), not 1.0"),
        (lambda: r.ema(optax.sgd(0.1), "a"), r"decay must lie in \[0, 1\)"),  # type: ignore[arg-type]
        (lambda: r.ema(0.1, 0.9), "the optimiser must be one of optax"),
        (lambda: r.asgd(None), "the optimiser must be one of optax"),
        (
            lambda: r.asgd(ADAM).update({"w": jnp.ones(2)}, r.asgd(ADAM).init({"w": jnp.ones(2)})),
            r"asgd\(\) averages the parameters: call update\(gradients, state, params\)",
        ),
    ],
)
def test_bad_input_is_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
