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
