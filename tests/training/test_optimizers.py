"""What optax offers inside steps and compiled loops with a donated state, beside sums by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from tests.cases import assert_close

pytestmark = pytest.mark.usefixtures("x64")

MODEL = r.language_model(7, r.recurrent(r.elman(3)))
PARAMS = MODEL.init(jax.random.key(0))
TOKENS = np.random.default_rng(0).integers(0, 7, (6, 5, 2))
DATA = r.Windows(jnp.asarray(TOKENS[:, :-1]), jnp.asarray(TOKENS[:, 1:]))


def params64() -> Any:
    return jax.tree.map(lambda p: p.astype(jnp.float64), PARAMS)


@jax.jit
def gradient(params: Any, index: Any) -> Any:
    def loss(params: Any) -> Any:
        return r.cross_entropy(
            MODEL.apply(params, None, DATA.inputs[index])[1], DATA.targets[index]
        )

    return jax.grad(loss)(params)


def trained(optimizer: Any, steps: int = 6) -> r.TrainState:
    """The state after two calls of a compiled loop."""
    state = r.init_train_state(MODEL, optimizer, params64())
    run = r.make_train_steps(r.make_train_step(MODEL, optimizer))
    state, _ = run(state, DATA, 0, 3)
    state, _ = run(state, DATA, 3, steps)
    return state


def combined(f: Any, *trees: Any) -> Any:
    return jax.tree.map(f, *trees)


def test_accumulated_gradients_are_those_of_the_batches_together() -> None:
    """Three batches of two rows are one of six: the mean of their gradients moves once."""
    inner = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)
    state = trained(optax.MultiSteps(inner, 3, accumulator_dtype=jnp.float64))
    assert int(state.step) == 6 and int(state.opt_state.gradient_step) == 2
    assert float(r.learning_rate(state.opt_state)) == 0.5
    params = params64()
    for begin in (0, 3):
        parts = [gradient(params, begin + i) for i in range(3)]
        params = combined(lambda p, a, b, c: p - 0.5 * (a + b + c) / 3, params, *parts)
    assert_close(state.params, params)

    together = jax.jit(r.make_train_step(MODEL, r.sgd(0.5)))
    rows = [jnp.moveaxis(x[:3], 0, 1).reshape(4, 6) for x in (DATA.inputs, DATA.targets)]
    whole, _ = together(r.init_train_state(MODEL, r.sgd(0.5), params64()), r.Batch(*rows))
    first = trained(optax.MultiSteps(inner, 3, accumulator_dtype=jnp.float64), steps=3)
    assert_close(first.params, whole.params)


def test_a_rule_and_an_average_inside_accumulation() -> None:
    inner = r.asgd(optax.inject_hyperparams(optax.adam)(learning_rate=0.5))
    state = trained(optax.MultiSteps(inner, 2))
    opt_state = r.start_averaging(0)([1.0, 2.0], r.halve()([1.0, 2.0], state.opt_state))
    assert float(r.learning_rate(opt_state)) == 0.25
    combined(np.testing.assert_array_equal, r.averaged(opt_state, state.params), state.params)
    optimizer = optax.MultiSteps(inner, 2)
    state, _ = r.make_train_steps(r.make_train_step(MODEL, optimizer))(
        state._replace(opt_state=opt_state), DATA, 0, 6
    )
    assert int(optax.tree_utils.tree_get(state.opt_state, "averaged_steps")) == 4


def test_weight_decay_is_a_term_of_the_gradient() -> None:
    optimizer = optax.inject_hyperparams(
        lambda learning_rate: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(learning_rate))
    )(learning_rate=0.5)
    state, params = trained(optimizer), params64()
    for index in range(6):
        params = combined(lambda p, g: p - 0.5 * (g + 0.1 * p), params, gradient(params, index))
    assert_close(state.params, params)
    assert float(r.learning_rate(state.opt_state)) == 0.5


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(nesterov: bool) -> None:
    make = partial(optax.sgd, momentum=0.9, nesterov=nesterov)
    state = trained(optax.inject_hyperparams(make)(learning_rate=0.1))
    params = params64()
    velocity = combined(jnp.zeros_like, params)
    for index in range(6):
        g = gradient(params, index)
        velocity = combined(lambda v, g: 0.9 * v + g, velocity, g)
        step = combined(lambda v, g: 0.9 * v + g, velocity, g) if nesterov else velocity
        params = combined(lambda p, s: p - 0.1 * s, params, step)
    assert_close(state.params, params)
    assert float(r.learning_rate(state.opt_state)) == pytest.approx(0.1)


def test_a_warm_up_beside_a_rule() -> None:
    """A factor behind the optimiser rises; the rate in the state is the rule's."""
    inner = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)
    warm = optax.scale_by_schedule(r.schedules.constant(1.0, warmup=3))
    optimizer = optax.chain(inner, warm)
    state = r.init_train_state(MODEL, optimizer, params64())
    run = r.make_train_steps(r.make_train_step(MODEL, optimizer))
    state, _ = run(state, DATA, 0, 2)
    state = state._replace(opt_state=r.halve()([1.0, 2.0], state.opt_state))
    state, _ = run(state, DATA, 2, 6)
    params = params64()
    for index, rate in enumerate((0.125, 0.25, 0.1875, 0.25, 0.25, 0.25)):
        g = gradient(params, index)
        params = combined(lambda p, g, rate=rate: p - rate * g, params, g)
    assert_close(state.params, params)
    assert float(r.learning_rate(state.opt_state)) == 0.25
