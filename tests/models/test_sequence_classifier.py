"""The sequence classifier against rows alone, and trained."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from tests.cases import assert_close, quick_jit

IDS = r.sequence_classifier(
    3, r.bidirectional(r.recurrent(r.gru(2)), r.recurrent(r.gru(2), reverse=True)), input_size=5
)
FEATURES = r.sequence_classifier(2, r.dropout(0.5), input_size=4, bias=False)


@pytest.mark.usefixtures("x64")
def test_values_and_gradients_are_those_of_rows_alone() -> None:
    params = jax.tree.map(lambda p: p.astype(float) + 0.1, IDS.init(jax.random.key(0)))
    xs = jnp.array([[1, 2, 3, 0], [4, 0, 99, -1], [2, 1, 99, 7]])
    lengths, targets = (3, 2, 1, 0), jnp.array([2, 0, 1, 1])

    def loss(params: Any, xs: Any, targets: Any, mask: Any) -> Any:
        carry, logits = IDS.apply(params, None, xs, mask=mask)
        return r.cross_entropy(logits, targets, reduction="sum"), (carry, logits)

    run = quick_jit(jax.grad(loss, has_aux=True), ())
    grads, (carry, logits) = run(params, xs, targets, r.length_mask(jnp.array(lengths), 3))
    expected: Any = jax.tree.map(jnp.zeros_like, params)
    for row, length in enumerate(lengths):
        alone, (state, out) = run(params, xs[:length, row], targets[row], None)
        expected = jax.tree.map(jnp.add, expected, alone)
        assert_close(jax.tree.map(lambda c, row=row: c[row], carry), state)
        assert_close(logits[row], out)
    assert_close(grads, expected)
    np.testing.assert_array_equal(logits[3], params["readout"]["b"])


def test_a_layer_without_a_size_of_its_own_and_no_bias() -> None:
    params = FEATURES.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (3, 2, 2, 4))
    _, logits = FEATURES.apply(params, None, xs)
    np.testing.assert_allclose(logits, xs[-1] @ params["readout"]["w"], rtol=1e-5)
    assert list(params["readout"]) == ["w"]


@pytest.mark.parametrize("optimizer", [r.sgd(0.5), optax.adam(0.1)], ids=["sgd", "adam"])
def test_it_trains_with_make_train_step(optimizer: Any) -> None:
    """The first token says the class, five steps later."""
    model = r.sequence_classifier(2, r.recurrent(r.elman(8)), input_size=4)
    xs = jax.random.randint(jax.random.key(0), (6, 32), 0, 4)

    def loss(logits: Any, targets: Any, *, mask: Any) -> Any:
        return r.cross_entropy(logits, targets)

    step = jax.jit(r.make_train_step(model, optimizer, loss=loss))
    state = r.init_train_state(model, optimizer, model.init(jax.random.key(1)))
    mask = jnp.ones(xs.shape, bool)
    for _ in range(60):
        state, metrics = step(state, r.Batch(xs, xs[0] % 2, mask))
    assert metrics["loss"] < 0.1


def test_bad_input() -> None:
    layer = r.recurrent(r.elman(3))
    with pytest.raises(ValueError, match="classes must be an integer"):
        r.sequence_classifier(0, layer, input_size=2)
    with pytest.raises(ValueError, match="input_size must be an integer"):
        r.sequence_classifier(2, layer, input_size=0)
    with pytest.raises(ValueError, match=r"takes a layer, not Elman.*: wrap a cell"):
        r.sequence_classifier(2, r.elman(3), input_size=2)  # type: ignore[arg-type]
    model = r.sequence_classifier(2, layer, input_size=2)
    with pytest.raises(ValueError, match="not causal"):
        r.truncate(model, r.tail(3))
    with pytest.raises(ValueError, match="not causal"):
        r.generate(model, {}, None, jnp.zeros((1,), int), length=1, key=jax.random.key(0))


FWD, BWD = r.recurrent(r.gru(3)), r.recurrent(r.lstm(3), reverse=True)
BOTH = {merge: r.bidirectional(FWD, BWD, merge=merge) for merge in ("concat", "sum")}
LENGTHS = jnp.array([6, 4, 1, 0])
MASK = r.length_mask(LENGTHS, 6)
XS = jax.random.normal(jax.random.key(1), (6, 4, 5))


def _features(layer: Any, mask: Any = MASK, **options: Any) -> Any:
    """What the read-out of a classifier reads, and the layer's parameters."""
    size = layer.output_size
    model = r.sequence_classifier(size, layer, input_size=5, bias=False, **options)
    params = model.init(jax.random.key(0)) | {"readout": {"w": jnp.eye(size)}}
    return jax.jit(model.apply)(params, None, XS, mask=mask)[1], params["layer"]


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_of_both_directions_it_reads_the_final_states(merge: str, mask: Any) -> None:
    """As PyTorch's and Keras': a GRU's output and an LSTM's ``h`` are their carries."""
    got, params = _features(BOTH[merge], mask)
    (h, (back, _)), _ = BOTH[merge].apply(params, None, XS, mask=mask)
    expected = h + back if merge == "sum" else jnp.concatenate([h, back], axis=-1)
    assert_close(
        got, jnp.where(LENGTHS[:, None] > 0, expected, 0) if mask is not None else expected
    )


def test_a_reversed_layer_ends_at_the_first_step() -> None:
    for layer in (BWD, r.remat(BWD), r.serial(FWD, BWD), r.serial(BWD, r.dropout(0.5))):
        got, params = _features(layer)
        _, ys = layer.apply(params, None, XS, mask=MASK)
        assert_close(got, ys[0])


def test_stacks_over_both_directions() -> None:
    both = BOTH["concat"]
    got, params = _features(r.serial(both, both, r.serial(r.dropout(0.5), r.dropout(0.1))))
    _, below = both.apply(params["0"], None, XS, mask=MASK)
    (h, (back, _)), _ = both.apply(params["1"], None, below, mask=MASK)
    assert_close(got[:3], jnp.concatenate([h, back], axis=-1)[:3])
    np.testing.assert_array_equal(got[3], 0)
    # a recurrence on top has read everything at its last step
    layer = r.serial(both, FWD)
    got, params = _features(layer)
    assert_close(got, layer.apply(params, None, XS, mask=MASK)[0][1])


def test_dropout_above_both_directions_draws_noise() -> None:
    model = r.sequence_classifier(2, r.serial(BOTH["sum"], r.dropout(0.5)), input_size=5)
    params = model.init(jax.random.key(0))
    keyed = [model.apply(params, None, XS, mask=MASK, key=jax.random.key(k))[1] for k in (0, 0, 1)]
    np.testing.assert_array_equal(keyed[0], keyed[1])
    assert (keyed[0] != keyed[2]).any()


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("mask", [None, MASK])
def test_pooling_over_valid_steps(pooling: Any, mask: Any) -> None:
    got, params = _features(BOTH["concat"], mask, pooling=pooling)
    _, ys = BOTH["concat"].apply(params, None, XS, mask=mask)
    for row, length in enumerate(LENGTHS.tolist() if mask is not None else [6] * 4):
        valid = np.asarray(ys[:length, row])
        expected = getattr(valid, pooling)(axis=0) if length else 0.0
        np.testing.assert_allclose(got[row], expected, rtol=1e-5, atol=1e-6)


def test_no_steps_at_all() -> None:
    for pooling in ("last", "mean", "max"):
        model = r.sequence_classifier(2, BOTH["concat"], input_size=5, pooling=pooling)
        params = model.init(jax.random.key(0))
        _, logits = model.apply(params, None, XS[:0])
        np.testing.assert_array_equal(logits, 0)


def test_what_has_no_last_output_is_refused_and_can_be_pooled() -> None:
    layer = r.residual(r.bidirectional(FWD, r.recurrent(r.gru(2), reverse=True)))
    with pytest.raises(ValueError, match="pool the outputs by 'mean' or 'max'"):
        _features(layer)
    assert _features(layer, pooling="max")[0].shape == (4, 5)
    with pytest.raises(ValueError, match="pooling must be one of"):
        _features(FWD, pooling="first")


def test_integer_features_are_refused() -> None:
    model = r.sequence_classifier(2, FWD, input_size=5)
    params = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"pass xs.astype\(float\)"):
        model.apply(params, None, jnp.ones((6, 4, 5), int))
    assert model.apply(params, None, jnp.ones((6, 4), int))[1].shape == (4, 2)


def test_rows_count_whatever_the_mask_of_their_steps() -> None:
    model = r.sequence_classifier(3, r.recurrent(r.gru(4)), input_size=2)
    xs, targets = jnp.ones((5, 4, 2)), jnp.zeros(4, int)

    def loss(scores: Any, targets: Any, *, mask: Any = None) -> Any:
        return r.cross_entropy(scores, targets)

    step = r.make_train_step(model, optax.sgd(0.1), loss=loss)
    for mask in (None, jnp.ones((5, 4), bool), r.length_mask(jnp.array([5, 2, 1, 0]), 5)):
        state = r.init_train_state(model, optax.sgd(0.1), model.init(jax.random.key(0)))
        assert int(jax.jit(step)(state, r.Batch(xs, targets, mask))[1]["tokens"]) == 4
