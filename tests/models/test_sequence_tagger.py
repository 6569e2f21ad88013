"""Models with an output for every step, trained, evaluated and kept; the laws run over them too."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from rnn_jax.training.batches import stacked
from tests.cases import assert_close

T, B = 8, 16
BOTH = r.bidirectional(r.recurrent(r.gru(8)), r.recurrent(r.gru(8), reverse=True))
MASK = r.length_mask(jnp.arange(B) % T + 1, T)
NOISE = jax.random.normal(jax.random.key(0), (4, T, B, 2))


def _fit(model: Any, optimizer: Any, data: r.Windows, loss: Any, epochs: int) -> Any:
    run = r.make_train_steps(r.make_train_step(model, optimizer, loss=loss))
    state = r.init_train_state(model, optimizer, model.init(jax.random.key(1)))
    for _ in range(epochs):
        state, (total, tokens) = run(state, data, 0, data.count)
    assert int(tokens) == data.count * int(data.mask.sum(axis=(1, 2))[0])  # type: ignore[union-attr]
    return state.params, total / tokens


def _windows(inputs: jax.Array, targets: jax.Array) -> r.Windows:
    """With garbage in the padding, which no step may read."""
    mask = jnp.broadcast_to(MASK, inputs.shape[:3])

    def poisoned(xs: jax.Array) -> jax.Array:
        bad = jnp.nan if jnp.issubdtype(xs.dtype, jnp.floating) else 10**6
        return jnp.where(mask.reshape(mask.shape + (1,) * (xs.ndim - 3)), xs, bad)

    return r.Windows(poisoned(inputs), poisoned(targets), mask)


def test_regression_learns_a_running_sum() -> None:
    model = r.sequence_tagger(2, r.recurrent(r.gru(16)), input_size=2)
    targets = 0.3 * jnp.stack([NOISE.sum(-1).cumsum(1), NOISE[..., 0]], axis=-1)
    data = _windows(NOISE, targets)
    params, trained = _fit(model, optax.adam(0.02), data, r.mean_squared_error, 60)
    total, steps = r.make_evaluate(model, loss=r.mean_squared_error)(params, data)
    assert int(steps) == 4 * int(MASK.sum())
    assert float(total / steps) < 0.03 < 0.1 < float(jnp.var(targets))
    # evaluation is the mean over all valid steps and features
    _, ys = jax.vmap(lambda xs: model.apply(params, None, xs, mask=MASK))(data.inputs)
    errors = np.asarray((ys - targets) ** 2)[np.asarray(data.mask)]
    np.testing.assert_allclose(total / steps, errors.mean(), rtol=1e-5)
    assert abs(float(trained) - errors.mean()) < 0.01


@pytest.mark.parametrize("optimizer", [r.sgd(1.0), optax.adam(0.05)], ids=["sgd", "adam"])
def test_tagging_in_both_directions(optimizer: Any) -> None:
    """Whether the NEXT token is even, which no causal model could know."""
    model = r.sequence_tagger(2, BOTH, input_size=6)
    ids = jax.random.randint(jax.random.key(3), (4, T, B), 0, 6)
    tags = jnp.roll(ids, -1, axis=1) % 2
    data = _windows(ids, tags)
    ends = ~jnp.roll(MASK, -1, axis=0).at[-1].set(False)  # the last step has no next
    data = r.Windows(data.inputs, jnp.where(ends, 0, data.targets), data.mask)
    params, _ = _fit(model, optimizer, data, r.cross_entropy, 120)
    _, logits = model.apply(params, None, data.inputs[0], mask=MASK)
    right = (logits.argmax(-1) == data.targets[0])[np.asarray(MASK)]
    assert right.mean() > 0.97


def test_class_weights_move_the_decision() -> None:
    model = r.sequence_tagger(2, r.linear(3), input_size=3)  # no memory: one answer for all
    ids = jnp.zeros((1, T, B), int)
    tags = (jnp.arange(T * B).reshape(1, T, B) % 4 == 0).astype(int)  # one in four
    data = r.Windows(ids, tags, jnp.broadcast_to(MASK, (1, T, B)))
    for weights, wanted in ((jnp.array([1.0, 1.0]), 0), (jnp.array([1.0, 9.0]), 1)):
        loss = partial(r.cross_entropy, class_weights=weights)
        params, _ = _fit(model, optax.adam(0.05), data, loss, 40)
        _, logits = model.apply(params, None, ids[0], mask=MASK)
        assert (logits.argmax(-1)[np.asarray(MASK)] == wanted).all()
        # what evaluation adds up is the weighted sum
        total, steps = r.make_evaluate(model, loss=loss)(params, data)
        expected = loss(logits, tags[0], mask=MASK, reduction="sum")
        np.testing.assert_allclose(total, expected, rtol=1e-5)
        assert int(steps) == int(MASK.sum())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("masked", [True, False])
def test_row_sparse_steps_equal_dense_ones(masked: bool) -> None:
    model = r.sequence_tagger(3, r.serial(r.linear(4), r.recurrent(r.gru(4))), input_size=9)
    ids = jax.random.randint(jax.random.key(0), (T, B), 0, 5)
    batch = r.Batch(ids, ids % 3, MASK if masked else None)
    results = []
    for optimizer in (r.sgd(0.5), optax.sgd(0.5)):
        state = r.init_train_state(model, optimizer, model.init(jax.random.key(1)))
        state, metrics = jax.jit(r.make_train_step(model, optimizer))(state, batch)
        results.append((state.params, metrics))
    assert_close(results[0], results[1], rtol=1e-6)
    assert int(results[0][1]["tokens"]) == (int(MASK.sum()) if masked else T * B)


@pytest.mark.parametrize("masked", [True, False])
def test_a_step_counts_steps_and_not_the_numbers_of_its_targets(masked: bool) -> None:
    model = r.sequence_tagger(2, r.recurrent(r.gru(4)), input_size=2)
    step = r.make_train_step(model, r.sgd(0.1), loss=r.mean_squared_error)
    state = r.init_train_state(model, r.sgd(0.1), model.init(jax.random.key(0)))
    batch = r.Batch(NOISE[0], NOISE[1], MASK if masked else None)
    assert int(step(state, batch)[1]["tokens"]) == (int(MASK.sum()) if masked else T * B)
    data = r.Windows(NOISE[:1], NOISE[1:2], MASK[None] if masked else None)
    _, steps = r.make_evaluate(model, loss=r.mean_squared_error)(state.params, data)
    assert int(steps) == (int(MASK.sum()) if masked else T * B)


def test_noise_resets_and_carries_go_through() -> None:
    layer = r.serial(r.recurrent(r.gru(4)), r.dropout(0.5))
    model = r.sequence_tagger(2, layer, input_size=2)
    params, xs = model.init(jax.random.key(0)), NOISE[0]
    first, again, other = (
        model.apply(params, None, xs, key=jax.random.key(k))[1] for k in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    step = r.make_train_step(model, r.sgd(0.1), loss=r.mean_squared_error)
    state = r.init_train_state(model, r.sgd(0.1), params, batch_shape=(B,))
    with pytest.raises(ValueError, match=r"dropout\(0\.5\) draws noise"):
        step(state, r.Batch(xs, xs))
    state, _ = step(state, r.Batch(xs, xs), key=jax.random.key(1))
    assert_close(state.carry, model.apply(params, None, xs)[0], rtol=1e-5)
    resets = jnp.zeros((T, B), bool).at[3].set(True)
    _, whole = model.apply(params, None, xs, resets=resets)
    _, tail = model.apply(params, None, xs[3:])
    assert_close(whole[3:], tail, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_remat_and_truncations_are_of_the_layer() -> None:
    model = r.sequence_tagger(2, r.recurrent(r.gru(4)), input_size=2)
    params = jax.tree.map(lambda p: p.astype(float), model.init(jax.random.key(0)))

    def gradient(model: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            _, ys = model.apply(params, None, NOISE[0].astype(float), mask=MASK)
            return r.mean_squared_error(ys, NOISE[1].astype(float), mask=MASK)

        return jax.grad(loss)(params)

    whole = gradient(model)
    assert_close(gradient(r.remat(model, 3)), whole)
    assert_close(gradient(r.truncate(model, r.chunked(T))), whole)
    short = r.truncate(model, r.sliding(1))
    assert isinstance(short, r.SequenceTagger) and short.layer == r.truncate(
        model.layer, r.sliding(1)
    )
    assert not np.allclose(gradient(short)["layer"]["w_hh"], whole["layer"]["w_hh"])
    # the read-out of early steps learns from all losses but under `tail`
    assert_close(gradient(short)["readout"], whole["readout"])
    assert not np.allclose(gradient(r.truncate(model, r.tail(2)))["readout"]["w"], 0)
    with pytest.raises(ValueError, match="not causal"):
        r.truncate(r.sequence_tagger(2, BOTH, input_size=2), r.tail(3))


@pytest.mark.parametrize("like", [True, False])
def test_parameters_are_saved_and_loaded(tmp_path: Path, like: bool) -> None:
    model = r.sequence_tagger(2, r.serial(r.linear(3), r.recurrent(r.lstm(4))), input_size=2)
    params = model.init(jax.random.key(0))
    r.interop.save_params(tmp_path / "tagger.safetensors", params)
    options = {"like": params} if like else {}
    loaded = r.interop.load_params(tmp_path / "tagger.safetensors", **options)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    np.testing.assert_array_equal(
        model.apply(loaded, None, NOISE[0])[1], model.apply(params, None, NOISE[0])[1]
    )


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_evaluation_of_a_classifier_counts_rows(pooling: Any) -> None:
    model = r.sequence_classifier(3, BOTH, input_size=2, pooling=pooling)
    params, targets = model.init(jax.random.key(0)), jnp.arange(B)[None] % 3

    def loss(logits: Any, targets: Any, *, mask: Any, reduction: Any = "mean") -> Any:
        return r.cross_entropy(logits, targets, reduction=reduction)

    data = r.Windows(NOISE[:1], targets, MASK[None])
    total, rows = r.make_evaluate(model, loss=loss)(params, data)
    assert int(rows) == B
    _, logits = model.apply(params, None, NOISE[0], mask=MASK)
    np.testing.assert_allclose(total / rows, r.cross_entropy(logits, targets[0]), rtol=1e-5)


def test_batches_of_numbers_are_stacked() -> None:
    pairs = [(np.ones((T, B, 3)), np.full((T, B, 2), i)) for i in (1, 2)]
    data = stacked(pairs, 4)
    assert data.inputs.shape == (4, T, B, 3) and data.targets.shape == (4, T, B, 2)
    assert data.targets[:, 0, 0, 0].tolist() == [1, 2, 0, 0]


def test_evaluation_asks_for_sums() -> None:
    """Whatever the loss gives by default; and what cannot give them is refused."""
    model = r.sequence_tagger(2, r.recurrent(r.gru(4)), input_size=2)
    params, data = model.init(jax.random.key(0)), r.Windows(NOISE[:2], NOISE[2:])
    totals = [
        r.make_evaluate(model, loss=loss)(params, data)
        for loss in (
            r.mean_squared_error,
            partial(r.mean_squared_error, reduction="mean"),
            lambda ys, targets, **options: r.mean_squared_error(ys, targets, **options),
        )
    ]
    assert totals[0] == totals[1] == totals[2]
    with pytest.raises(ValueError, match="takes no reduction: write loss"):
        r.make_evaluate(model, loss=lambda ys, targets, *, mask: ys.sum())  # type: ignore[arg-type]


def test_bad_input() -> None:
    layer = r.recurrent(r.gru(3))
    with pytest.raises(ValueError, match="outputs must be an integer of at least 1"):
        r.sequence_tagger(0, layer, input_size=2)
    with pytest.raises(ValueError, match="input_size must be an integer"):
        r.sequence_tagger(2, layer, input_size=0)
    with pytest.raises(ValueError, match=r"takes a layer, not GRU.*: wrap a cell"):
        r.sequence_tagger(2, r.gru(3), input_size=2)  # type: ignore[arg-type]
    model = r.sequence_tagger(2, layer, input_size=5)
    params = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match="the mask has shape"):
        model.apply(params, None, jnp.ones((6, 4, 5)), mask=jnp.ones(6, bool))
    step = r.make_train_step(model, r.sgd(0.1), loss=r.mean_squared_error)
    state = r.init_train_state(model, r.sgd(0.1), params)
    with pytest.raises(ValueError, match=r"one value a step, \[T, B, 1\]"):
        step(state, r.Batch(jnp.ones((6, 4, 5)), jnp.ones((6, 4))))


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("optimizer", [r.sgd(0.1), optax.adam(0.1)], ids=["sgd", "adam"])
def test_integer_features_are_refused(optimizer: Any, jit: bool) -> None:
    """By ``apply`` and by a step, for both models that read features or ids."""
    layer, features = r.recurrent(r.gru(3)), jnp.ones((6, 4, 5), int)
    for model in (
        r.sequence_tagger(2, layer, input_size=5),
        r.sequence_classifier(2, layer, input_size=5),
    ):
        params = model.init(jax.random.key(0))
        with pytest.raises(ValueError, match=r"if they are features, pass xs.astype\(float\)"):
            (jax.jit(model.apply) if jit else model.apply)(params, None, features)
        step = r.make_train_step(model, optimizer)
        state = r.init_train_state(model, optimizer, params)
        batch = r.Batch(features, jnp.zeros((6, 4), int))
        with pytest.raises(ValueError, match=r"pass xs.astype\(float\)"):
            (jax.jit(step) if jit else step)(state, batch)
