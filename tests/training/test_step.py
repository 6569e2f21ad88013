"""What a train step needs and refuses: keys for noise, arguments of optimisers, whole data."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from rnn_jax.training.batches import covering

GRU = r.recurrent(r.gru(4))
TOKENS = jnp.arange(12).reshape(6, 2) % 9
BATCH = r.Batch(TOKENS[:-1], TOKENS[1:])


def _model(layer: Any) -> Any:
    return r.language_model(9, layer, embedding_size=4)


NOISY = {
    "dropout(0.5)": _model(r.serial(GRU, r.dropout(0.5), GRU)),
    "weight_drop(0.5)": _model(r.weight_drop(GRU, 0.5)),
    "zoneout(0.1)": _model(r.zoneout(r.gru(4), 0.1)),
    "randomized(0.9)": r.truncate(_model(GRU), r.randomized(0.9)),
    "dropout(0.5) and dropout(0.1)": _model(
        r.remat(r.serial(r.residual(r.serial(GRU, r.dropout(0.5))), r.dropout(0.1)))
    ),
}


def _state(model: Any, optimizer: Any) -> Any:
    return r.init_train_state(model, optimizer, model.init(jax.random.key(0)))


@pytest.mark.parametrize("names", NOISY)
def test_noise_needs_a_key_or_is_switched_off(names: str) -> None:
    model, optimizer = NOISY[names], r.sgd(0.1)
    state = _state(model, optimizer)
    step = r.make_train_step(model, optimizer)
    with pytest.raises(ValueError, match=re.escape(f"{names} draws noise, but the step")):
        jax.jit(step)(state, BATCH)
    data = r.Windows(BATCH.inputs[None], BATCH.targets[None])
    with pytest.raises(ValueError, match="draws noise"):
        r.make_train_steps(step)(_state(model, optimizer), data, 0, 1)
    jax.jit(step)(state, BATCH, key=jax.random.key(1))
    quiet = r.make_train_step(model, optimizer, noise=False)
    _, metrics = jax.jit(quiet)(state, BATCH)
    _, logits = model.apply(state.params, None, BATCH.inputs)
    np.testing.assert_allclose(metrics["loss"], r.cross_entropy(logits, BATCH.targets), rtol=1e-6)
    with pytest.raises(ValueError, match="noise=False takes no key"):
        quiet(state, BATCH, key=jax.random.key(1))


@pytest.mark.parametrize(
    "model",
    [
        _model(r.serial(GRU, r.dropout(0.0))),
        _model(r.weight_drop(GRU, 0.0)),
        _model(r.zoneout(r.gru(4), 0.0)),
        r.truncate(_model(GRU), r.randomized(1.0)),
    ],
)
def test_rates_of_zero_draw_nothing_and_need_no_key(model: Any) -> None:
    optimizer = r.sgd(0.1)
    state = _state(model, optimizer)
    _, metrics = jax.jit(r.make_train_step(model, optimizer))(state, BATCH)
    _, logits = model.apply(state.params, None, BATCH.inputs)
    np.testing.assert_allclose(metrics["loss"], r.cross_entropy(logits, BATCH.targets), rtol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.lbfgs(),
        optax.chain(optax.adam(0.05), optax.contrib.reduce_on_plateau(factor=0.5, patience=1)),
        optax.polyak_sgd(),
        optax.contrib.prodigy(0.5),
        optax.contrib.dowg(),
        optax.adam(0.05),
    ],
    ids=["lbfgs", "plateau", "polyak", "prodigy", "dowg", "adam"],
)
def test_optimisers_get_optimizer_errors_explained(optimizer: Any) -> None:
    model = _model(GRU)
    state = _state(model, optimizer)
    run = r.make_train_steps(r.make_train_step(model, optimizer))
    data = r.Windows(BATCH.inputs[None], BATCH.targets[None])
    losses = []
    for _ in range(6):
        state, (nats, tokens) = run(state, data, 0, 1)
        losses.append(float(nats / tokens))
    assert losses[-1] < losses[0]


def test_an_optimiser_that_needs_more_is_refused() -> None:
    def update(updates: Any, state: Any, params: Any = None, *, curvature: Any, **_: Any) -> Any:
        return updates, state

    optimizer = optax.GradientTransformationExtraArgs(lambda params: (), update)
    model = _model(GRU)
    with pytest.raises(ValueError, match="the optimiser needs 'curvature', which a train step"):
        r.make_train_step(model, optimizer)(_state(model, optimizer), BATCH)


@pytest.mark.parametrize("size", [2, 3, 10, 100, 2239])
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (4, 7), (32, 35), (3000, 5)])
def test_windows_that_cover_hold_every_target_once(size: int, rows: int, length: int) -> None:
    data = covering(np.arange(size), rows, length)
    inputs, targets = np.asarray(data.inputs), np.asarray(data.targets)
    mask = np.ones(targets.shape, bool) if data.mask is None else np.asarray(data.mask)
    assert sorted(targets[mask].tolist()) == [*range(1, size)]
    np.testing.assert_array_equal(inputs[mask] + 1, targets[mask])
    assert targets.shape[2] <= rows and targets.shape[1] <= length
    along = inputs.reshape(-1, inputs.shape[2])
    valid = mask.reshape(along.shape)
    for row in range(along.shape[1]):  # rows continue from window to window, padding behind
        used = along[valid[:, row], row]
        assert valid[: len(used), row].all() and (np.diff(used) == 1).all()


@pytest.mark.parametrize("stateful", [False, True])
def test_evaluation_of_all_targets_is_that_of_each_row(stateful: bool) -> None:
    model = _model(GRU)
    params = model.init(jax.random.key(0))
    ids = np.random.default_rng(0).integers(0, 9, 30)
    data = covering(ids, 4, 5)
    carry = model.initial_carry((data.batch_size,), params) if stateful else None
    nats, tokens = r.make_evaluate(model)(params, data, carry)
    expected, begins = 0.0, 29 * np.arange(5) // 4
    for begin, end in pairwise(begins):
        cuts = [*range(begin, end, end - begin if stateful else 5), end]
        for a, b in pairwise(cuts):
            row = jnp.asarray(ids[a : b + 1])
            _, logits = model.apply(params, None, row[:-1])
            expected += float(r.cross_entropy(logits, row[1:], reduction="sum"))
    assert int(tokens) == 29
    np.testing.assert_allclose(nats, expected, rtol=1e-5)


def test_a_text_without_a_target_cannot_be_covered() -> None:
    with pytest.raises(ValueError, match="1 tokens hold no target"):
        covering(np.arange(1), 2, 3)
