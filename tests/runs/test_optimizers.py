"""The optimisers that settings name: their rates over time, against the formulas."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnn_jax import runs
from rnn_jax.runs.settings import TrainConfig
from rnn_jax.training.averaging import averaged
from rnn_jax.training.lazy import Lazy
from rnn_jax.training.rules import learning_rate
from rnn_jax.training.sgd import PlainSGD

PARAMS = {"w": jnp.array([1.0, -2.0])}
GRADIENT = {"w": jnp.array([0.5, 0.25])}


def rates(steps_per_epoch: float, updates: int, **settings: Any) -> list[float]:
    """The learning rate of each update, which plain descent shows."""
    config = TrainConfig(optimizer="sgd", lr=1.0, clip=0.0, **settings)
    optimizer = runs.make_optimizer(config, steps_per_epoch)
    state, found = optimizer.init(PARAMS), []
    update = jax.jit(optimizer.update)
    for _ in range(updates):
        changes, state = update(GRADIENT, state, PARAMS)
        found.append(-float(changes["w"][0] / 0.5))
        assert found[-1] == pytest.approx(float(learning_rate(state)), rel=1e-6)
    return found


def test_rates_follow_their_formulas() -> None:
    close = lambda found, wanted: np.testing.assert_allclose(found, wanted, rtol=1e-5)  # noqa: E731
    close(rates(2, 4, schedule="constant"), [1.0] * 4)
    close(rates(2, 4, schedule="constant", warmup=1.5), [1 / 4, 2 / 4, 3 / 4, 1])
    step = {"schedule": "step", "decay_every": 1.5, "decay_factor": 0.1}
    close(rates(2, 7, **step), [1, 1, 1, 0.1, 0.1, 0.1, 0.01])
    close(rates(2, 7, **step, min_lr=0.05), [1, 1, 1, 0.1, 0.1, 0.1, 0.05])
    close(rates(2, 5, schedule="exponential"), [0.5 ** (n / 2) for n in range(5)])
    cosine = [0.1 + 0.9 * (1 + math.cos(math.pi * n / 8)) / 2 for n in range(9)]
    close(rates(2, 9, schedule="cosine", epochs=4, min_lr=0.1), cosine)
    close(rates(5, 9, schedule="cosine", steps=8, min_lr=0.1), cosine)
    warm = [0.25, 0.5, 0.75, *((1 + math.cos(math.pi * n / 5)) / 2 for n in range(5))]
    close(rates(3, 8, schedule="cosine", steps=8, warmup=1.0), warm)
    close(rates(2, 3, schedule="halve"), [1.0] * 3)


def test_a_schedule_must_know_how_long_an_epoch_is() -> None:
    with pytest.raises(ValueError, match="--schedule cosine counts epochs: pass steps_per_epoch="):
        runs.make_optimizer(TrainConfig(schedule="cosine"))


def test_the_default_is_what_it_was() -> None:
    chain = lambda learning_rate: optax.chain(  # noqa: E731
        optax.clip_by_global_norm(1.0), optax.adam(learning_rate)
    )
    before = optax.inject_hyperparams(chain)(learning_rate=0.002)
    now = runs.make_optimizer(TrainConfig())
    one, other = before.init(PARAMS), now.init(PARAMS)
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)
    for _ in range(3):
        first, one = before.update(GRADIENT, one, PARAMS)
        second, other = now.update(GRADIENT, other, PARAMS)
        np.testing.assert_array_equal(first["w"], second["w"])
    plain: Any = {"optimizer": "sgd", "clip": 0.0}
    assert isinstance(runs.make_optimizer(TrainConfig(**plain)), PlainSGD)
    clipped: Any = runs.make_optimizer(TrainConfig(**plain | {"clip": 0.5}))
    assert isinstance(clipped, PlainSGD) and clipped.clipped
    decaying = TrainConfig(**plain, schedule="cosine")
    assert isinstance(runs.make_optimizer(decaying, 3), PlainSGD)
    assert not isinstance(runs.make_optimizer(TrainConfig(**plain, momentum=0.9)), PlainSGD)


def test_lazy_is_around_all_else() -> None:
    optimizer: Any = runs.make_optimizer(TrainConfig(optimizer="adamw", lazy=True))
    assert isinstance(optimizer, Lazy)
    one, other = (
        runs.make_optimizer(TrainConfig(optimizer="adamw", lazy=lazy)).init(PARAMS)
        for lazy in (True, False)
    )
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)
    for more in ({"accumulate": 2}, {"average": "ema:0.9"}):
        with pytest.raises(ValueError, match="--lazy goes by the words of one batch"):
            TrainConfig(lazy=True, **more)
    with pytest.raises(ValueError, match="nothing to leave alone with --tied"):
        TrainConfig(lazy=True, tied=True, hidden_size=8, embedding_size=8)


def first_updates(count: int, **settings: Any) -> list[Any]:
    optimizer = runs.make_optimizer(TrainConfig(clip=0.0, **settings), 1)
    state, found = optimizer.init(PARAMS), []
    for _ in range(count):
        changes, state = optimizer.update(GRADIENT, state, PARAMS)
        found.append(np.asarray(changes["w"]))
    return found


def test_momentum_and_weight_decay() -> None:
    g, w = np.asarray(GRADIENT["w"]), np.asarray(PARAMS["w"])
    first, second = first_updates(2, optimizer="sgd", lr=0.1, momentum=0.5)
    np.testing.assert_allclose([first, second], [-0.1 * g, -0.15 * g], rtol=1e-6)
    (decayed,) = first_updates(1, optimizer="sgd", lr=0.1, weight_decay=0.2)
    np.testing.assert_allclose(decayed, -0.1 * (g + 0.2 * w), rtol=1e-6)
    (adamw,) = first_updates(1, optimizer="adamw", lr=0.1, weight_decay=0.2)
    np.testing.assert_allclose(adamw, -0.1 * (np.sign(g) + 0.2 * w), rtol=1e-4)
    (default,) = first_updates(1, optimizer="adamw", lr=0.1)
    np.testing.assert_allclose(default, -0.1 * (np.sign(g) + 1e-4 * w), rtol=1e-4)


def test_accumulated_gradients_are_those_of_one_large_batch() -> None:
    g = np.asarray(GRADIENT["w"])
    windows = first_updates(4, optimizer="sgd", lr=0.1, accumulate=2)
    np.testing.assert_allclose(windows, [0 * g, -0.1 * g, 0 * g, -0.1 * g], rtol=1e-6)
    sentences = first_updates(2, optimizer="sgd", lr=0.1, accumulate=2, batching="sentences")
    np.testing.assert_allclose(sentences, [0 * g, -0.2 * g], rtol=1e-6)
    slow = first_updates(4, optimizer="sgd", lr=0.1, accumulate=2, schedule="step")
    # Schedules count epochs, however many updates these have: here half a one.
    np.testing.assert_allclose(slow, [0 * g, -0.1 * g, 0 * g, -0.05 * g], rtol=1e-6)


def test_rules_of_evaluations() -> None:
    assert runs.evaluation_rules(TrainConfig(schedule="constant")) == ()
    (halve,) = runs.evaluation_rules(TrainConfig())
    state = runs.make_optimizer(TrainConfig()).init(PARAMS)
    rate = lambda state: float(optax.tree_utils.tree_get(state, "learning_rate"))  # noqa: E731
    assert rate(halve([3.0], state)) == rate(halve([3.0, 3.0], state)) == pytest.approx(0.002)
    assert rate(halve([3.0, 3.1], state)) == pytest.approx(0.001)
    settings: Any = {"schedule": "plateau", "plateau_patience": 1, "decay_factor": 0.1}
    (plateau,) = runs.evaluation_rules(TrainConfig(**settings))
    assert rate(plateau([3.0, 3.0], state)) == pytest.approx(0.0002)
    assert rate(plateau([3.0, 2.0], state)) == pytest.approx(0.002)


def test_rules_reach_through_accumulation() -> None:
    config = TrainConfig(accumulate=3)
    (halve,) = runs.evaluation_rules(config)
    state = halve([1.0, 2.0], runs.make_optimizer(config).init(PARAMS))
    assert float(optax.tree_utils.tree_get(state, "learning_rate")) == pytest.approx(0.001)


def test_averages_stand_in_the_state_and_asgd_begins_by_its_rule() -> None:
    config = TrainConfig(optimizer="sgd", lr=1.0, clip=0.0, average="asgd:1", schedule="constant")
    (begin,) = runs.evaluation_rules(config)
    for accumulate in (1, 2):
        optimizer = runs.make_optimizer(config.changed(accumulate=accumulate))
        params, state = PARAMS, optimizer.init(PARAMS)
        state = begin([1.0, 2.0, 3.0], state)  # no new lowest for longer than one evaluation
        for _ in range(2 * accumulate):
            changes, state = optimizer.update(GRADIENT, state, params)
            params = optax.apply_updates(params, changes)
        w, g = np.asarray(PARAMS["w"]), np.asarray(GRADIENT["w"])
        np.testing.assert_allclose(params["w"], w - 2 * g)
        np.testing.assert_allclose(averaged(state, params)["w"], w - g)
    both = runs.evaluation_rules(TrainConfig(average="asgd:3"))
    assert len(both) == 2
    ema = runs.make_optimizer(TrainConfig(average="ema:0.5"))
    assert averaged(ema.init(PARAMS), PARAMS) is not PARAMS


def test_a_warm_up_must_end() -> None:
    with pytest.raises(ValueError, match="--warmup 9 takes 18 of the 8 updates of the whole"):
        rates(2, 1, schedule="cosine", warmup=9.0, epochs=4)
