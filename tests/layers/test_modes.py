"""JAX's modes: jit disabled, and promotion of dtypes that must be written out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from tests.cases import assert_close

LSTM = r.recurrent(r.lstm(3, learned_carry=True))
LAYERS: dict[str, r.Layer] = {
    "lstm": LSTM,
    "reverse": r.recurrent(r.gru(3), reverse=True),
    "min_gru": r.recurrent(r.min_gru(3)),
    "echo_state": r.recurrent(r.echo_state(3)),
    "zoneout": r.zoneout(r.gru(3), 0.1),
    "remat": r.remat(LSTM, 2),
    "remat, reverse": r.remat(r.recurrent(r.gru(3), reverse=True), 2),
    "truncated": r.truncate(LSTM, r.chunked(2)),
    "both": r.bidirectional(LSTM, r.recurrent(r.gru(2), reverse=True)),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("length", [0, 1, 5])
def test_without_jit_values_and_gradients_are_the_same(name: str, length: int) -> None:
    layer = LAYERS[name]
    params = jax.tree.map(lambda p: p.astype(float), layer.init(jax.random.key(0), 4))
    xs = jax.random.normal(jax.random.key(1), (length, 2, 4))
    mask = r.length_mask(jnp.array([length, length // 2]), length)
    scale = jnp.full((length, 2), 0.5)

    def loss(params: Any, options: Any) -> Any:
        carry, ys = layer.apply(params, None, xs, key=jax.random.key(2), **options)
        return (ys**2).sum() + sum(c.sum() for c in jax.tree.leaves(carry)), ys

    for options in ({}, {"mask": mask, "gradient_scale": scale, "resets": mask}):
        expected = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, options)
        with jax.disable_jit():
            got = jax.value_and_grad(loss, has_aux=True)(params, options)
        assert got[0][1].shape == expected[0][1].shape
        assert_close(got, expected, rtol=1e-9)


def test_generation_of_nothing_without_jit() -> None:
    model = r.language_model(5, LSTM)
    params = model.init(jax.random.key(0))
    prefix = jnp.zeros((1, 2), int)
    with jax.disable_jit():
        _, tokens = r.generate(model, params, None, prefix, length=0, key=jax.random.key(1))
    assert tokens.shape == (0, 2)


@pytest.mark.parametrize("mode", ["rank promotion", "dtype promotion"])
def test_masked_training_where_promotion_is_refused(mode: str) -> None:
    layer = r.serial(LSTM, r.dropout(0.5))
    model = r.truncate(r.language_model(5, layer, embedding_size=3), r.randomized(0.9))
    state = r.init_train_state(model, r.sgd(0.1), model.init(jax.random.key(0)))
    tokens = jnp.ones((5, 2), int)
    mask = r.length_mask(jnp.array([4, 2], jnp.int8), 4)
    step = r.make_train_step(model, r.sgd(0.1))
    classifier = r.sequence_classifier(2, LSTM, input_size=5, pooling="mean")
    weights = classifier.init(jax.random.key(0))
    refuse = jax.numpy_rank_promotion if mode == "rank promotion" else jax.numpy_dtype_promotion
    with refuse("raise" if mode == "rank promotion" else "strict"):
        new, metrics = jax.jit(step)(
            state, r.Batch(tokens[:-1], tokens[1:], mask), key=jax.random.key(1)
        )
        classifier.apply(weights, None, tokens[1:], mask=mask)
    assert int(metrics["tokens"]) == 6 and np.isfinite(metrics["loss"])
    assert int(new.step) == 1
