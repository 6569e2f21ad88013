"""Schedules against their equations, and where they go."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax import schedules
from tests.cases import assert_close


def warmed(after: Any, warmup: int) -> Any:
    """The rate 0.8 reached in equal parts, then ``after`` of the steps since."""
    return lambda t: 0.8 * (t + 1) / (warmup + 1) if t < warmup else after(t - warmup)


@pytest.mark.parametrize("warmup", [0, 1, 4])
@pytest.mark.parametrize(
    ("make", "options", "by_hand"),
    [
        (schedules.constant, {}, lambda t: 0.8),
        (schedules.step, {"every": 3, "factor": 0.1}, lambda t: 0.8 * 0.1 ** (t // 3)),
        (schedules.step, {"every": 2, "least": 0.3}, lambda t: max(0.8 * 0.5 ** (t // 2), 0.3)),
        (schedules.exponential, {"every": 5}, lambda t: 0.8 * 0.5 ** (t / 5)),
        (
            schedules.exponential,
            {"every": 1, "factor": 0.9, "least": 0.5},
            lambda t: max(0.8 * 0.9**t, 0.5),
        ),
    ],
)
def test_schedules_by_their_equations(
    make: Any, options: Any, by_hand: Any, warmup: int, x64: None
) -> None:
    schedule = make(0.8, warmup=warmup, **options)
    expected = [warmed(by_hand, warmup)(t) for t in range(12)]
    np.testing.assert_allclose([schedule(t) for t in range(12)], expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(jnp.arange(12)), expected, rtol=1e-12)


@pytest.mark.parametrize("warmup", [0, 1, 4])
@pytest.mark.parametrize("least", [0.0, 0.2])
def test_a_cosine_by_its_equation(warmup: int, least: float, x64: None) -> None:
    def after(t: int) -> float:
        share = min(t / (10 - warmup), 1)
        return least + (0.8 - least) * (1 + math.cos(math.pi * share)) / 2

    schedule = schedules.cosine(0.8, steps=10, warmup=warmup, least=least)
    expected = [warmed(after, warmup)(t) for t in range(14)]
    np.testing.assert_allclose([schedule(t) for t in range(14)], expected, rtol=1e-12, atol=1e-16)
    assert schedule(10) == schedule(13) == pytest.approx(least, abs=1e-16)
    assert schedules.cosine(0.0, steps=10)(3) == 0


def test_every_step_of_training_has_the_rate_of_its_number(x64: None) -> None:
    """Also that of `sgd`, which updates the rows of the input matrix that a batch uses."""
    schedule = schedules.cosine(0.5, steps=4, warmup=2)
    model = r.language_model(7, r.recurrent(r.elman(3)))
    params = jax.tree.map(lambda p: p.astype(float), model.init(jax.random.key(0)))
    batch = r.Batch(jnp.array([[1], [2]]), jnp.array([[2], [3]]))

    @jax.jit
    def by_hand(params: Any, rate: float) -> Any:
        def loss(params: Any) -> Any:
            return r.cross_entropy(model.apply(params, None, batch.inputs)[1], batch.targets)

        return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params))

    optimizer = r.sgd(schedule)
    step = jax.jit(r.make_train_step(model, optimizer))
    state = r.init_train_state(model, optimizer, params)
    for t in range(5):
        params = by_hand(params, float(schedule(jnp.array(t, jnp.int32))))  # as optax counts
        state, _ = step(state, batch)
        assert float(r.learning_rate(state.opt_state)) == pytest.approx(float(schedule(t)))
        assert_close(state.params, params)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedules.constant(-1.0), "rate must be a finite number of at least 0, not -1"),
        (lambda: schedules.constant(math.nan), "rate must be a finite number"),
        (lambda: schedules.constant("0.1"), "rate must be a finite number"),  # type: ignore[arg-type]
        (lambda: schedules.constant(1.0, warmup=-1), "warmup must be an integer of at least 0"),
        (lambda: schedules.step(1.0, every=0), "every must be an integer of at least 1"),
        (lambda: schedules.step(1.0, every=2, factor=1.5), r"factor must lie in \(0, 1\]"),
        (lambda: schedules.exponential(1.0, every=2, factor=0), r"factor must lie in \(0, 1\]"),
        (lambda: schedules.exponential(1.0, every=2, least=2.0), "least must be at most the rate"),
        (lambda: schedules.cosine(1.0, steps=0), "steps must be an integer of at least 1"),
        (lambda: schedules.cosine(1.0, steps=5, warmup=5), "a warm-up of 5 steps leaves none of 5"),
    ],
)
def test_numbers_without_a_meaning_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
