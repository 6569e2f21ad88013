"""The encoder-decoder: carries handed over, teacher forcing, gradients, generation."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.diagnostics import gradient_flow
from tests.cases import assert_close, quick_jit

DECODER = r.language_model(6, r.recurrent(r.lstm(3)), embedding_size=2)
ENCODER = r.serial(r.embedding(4), r.recurrent(r.lstm(3)))
PLAIN = r.encoder_decoder(5, ENCODER, DECODER)
BOTH_WAYS = r.encoder_decoder(
    5, r.bidirectional(r.recurrent(r.gru(2)), r.recurrent(r.elman(4), reverse=True)), DECODER,
    bridge=True,
)  # fmt: skip
SOURCE = jnp.array([[1, 2, 3], [4, 0, 99], [2, -7, 99]])
SOURCE_MASK = r.length_mask(jnp.array([3, 2, 0]), 3)
TARGET = jnp.array([[0, 0, 0], [3, 1, 5], [2, 4, 4]])


def initial(model: Any) -> Any:
    return jax.tree.map(lambda p: p.astype(float), model.init(jax.random.key(1)))


def loss(model: Any, params: Any, source: Any, mask: Any, target: Any) -> Any:
    carry = model.encode(params, source, mask)
    _, logits = model.apply(params, carry, target[:-1])
    return r.cross_entropy(logits, target[1:], reduction="sum")


def by_hand(model: Any, params: Any, source: Any, mask: Any, target: Any) -> Any:
    """One row, one step after the other, without padding."""
    state = model.encoder.initial_carry((), params["encoder"])
    for x in source:
        state, _ = model.encoder.apply(params["encoder"], state, x[None])
    if model.bridge:
        forward, _ = model.encoder.forward.apply(params["encoder"]["forward"], None, source)
        backward, _ = model.encoder.backward.apply(params["encoder"]["backward"], None, source)
        both = jnp.concatenate([forward, backward])
        h = jnp.tanh(both @ params["bridge"]["w"] + params["bridge"]["b"])
        state = (h[:3], h[3:])
    else:
        state = state[1]
    total: Any = 0.0
    for token, following in itertools.pairwise(target):
        state, logits = model.decoder.apply(params["decoder"], state, token[None])
        total = total - jax.nn.log_softmax(logits[0])[following]
    return total


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("model", [PLAIN, BOTH_WAYS], ids=["plain", "both-ways"])
def test_values_and_gradients_are_those_of_rows_alone(model: Any) -> None:
    params = initial(model)
    value, grads = quick_jit(jax.value_and_grad(loss, 1))(
        model, params, SOURCE, SOURCE_MASK, TARGET
    )
    expected: Any = (0.0, jax.tree.map(jnp.zeros_like, params))
    for row, length in enumerate((3, 2, 0)):
        one = quick_jit(jax.value_and_grad(by_hand, 1))(
            model, params, SOURCE[:length, row], None, TARGET[:, row]
        )
        expected = jax.tree.map(jnp.add, expected, one)
    assert_close((value, grads), expected)


def test_generation_goes_on_from_what_was_read() -> None:
    params = PLAIN.init(jax.random.key(1))
    carry = PLAIN.encode(params, SOURCE, SOURCE_MASK)
    first = TARGET[:1]
    _, greedy = r.generate(
        PLAIN, params, carry, first, length=4, key=jax.random.key(0), temperature=0
    )
    _, logits = PLAIN.apply(params, carry, jnp.concatenate([first, greedy[:-1]]))
    np.testing.assert_array_equal(greedy, logits.argmax(-1))
    tokens, _ = r.beam_search(PLAIN, params, carry, first, beams=1, length=4)
    np.testing.assert_array_equal(tokens[..., 0], greedy)


CHANGED: Any = {
    "chunked": r.truncate(PLAIN, r.chunked(2)),
    "sliding": r.truncate(PLAIN, r.sliding(1)),
    "tail": r.truncate(PLAIN, r.tail(2)),
    "remat": r.remat(PLAIN),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CHANGED)
def test_truncation_and_remat_keep_values_and_still_read(name: str) -> None:
    model, params = CHANGED[name], initial(PLAIN)
    assert model.recurrent_part is not PLAIN.recurrent_part
    arguments = params, SOURCE, SOURCE_MASK, TARGET
    both = quick_jit(jax.value_and_grad(loss, 1))
    expected, whole = both(PLAIN, *arguments)
    value, grads = both(model, *arguments)
    assert_close(value, expected)
    reads = [bool(jnp.any(leaf)) for leaf in jax.tree.leaves(grads["encoder"])]
    # Two predictions: one window of two, and every sliding one of two, reach the start.
    assert all(reads)
    if name != "sliding":
        assert_close(grads, whole)


@pytest.mark.usefixtures("x64")
def test_a_truncation_cuts_the_decoder_s_time() -> None:
    params, target = initial(PLAIN), jnp.array([[0, 1, 2], [3, 1, 5], [2, 4, 4], [1, 1, 3]])
    carry = PLAIN.encode(params, SOURCE, SOURCE_MASK)
    flow = gradient_flow(PLAIN, params, carry, target)
    assert bool((flow.mean > 0).all())
    for kind in (r.chunked(2), r.sliding(1), r.tail(2)):
        cut = gradient_flow(r.truncate(PLAIN, kind), params, carry, target)
        same = gradient_flow(r.truncate(PLAIN.decoder, kind), params["decoder"], carry, target)
        # Where there is no step so far back both are NaN.
        np.testing.assert_allclose(cut.norms, same.norms, rtol=1e-10)
        assert bool((cut.norms == 0).any()) and not bool((flow.norms == 0).any())


def test_sources_may_be_features_and_dropout_needs_a_key() -> None:
    encoder = r.serial(r.recurrent(r.elman(3)), r.dropout(0.5), r.recurrent(r.elman(3)))
    two = r.serial(r.recurrent(r.elman(3)), r.recurrent(r.elman(3)))
    model = r.encoder_decoder(2, encoder, r.language_model(4, two))
    params, source = model.init(jax.random.key(0)), jnp.ones((5, 4, 2))
    carry = model.encode(params, source)
    assert jax.tree.map(jnp.shape, carry) == ((4, 3), (4, 3))
    noisy = model.encode(params, source, key=jax.random.key(1))
    np.testing.assert_array_equal(carry[0], noisy[0])  # below the dropout
    assert (carry[1] != noisy[1]).any()


ANY: Any = r


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: r.encoder_decoder(0, ENCODER, DECODER), "source_size must be an integer"),
        (lambda: ANY.encoder_decoder(5, r.gru(3), DECODER), "takes a layer as encoder"),
        (lambda: ANY.encoder_decoder(5, ENCODER, ENCODER), "takes a language_model as decoder"),
        (
            lambda: r.encoder_decoder(5, r.recurrent(r.gru(3)), DECODER),
            r"encoder's carry has features \(3,\), the decoder's \(3, 3\).*bridge=True",
        ),
        (
            lambda: r.encoder_decoder(
                5, ENCODER, r.language_model(6, r.recurrent(r.lstm(3), reverse=True))
            ),
            "not causal",
        ),
        (
            lambda: r.encoder_decoder(5, r.recurrent(r.lru(3)), DECODER, bridge=True),
            "carries of real numbers",
        ),
        (lambda: PLAIN.apply(initial(PLAIN), None, TARGET), "starts from what it has read"),
        (
            lambda: r.generate(
                PLAIN, initial(PLAIN), None, TARGET, length=2, key=jax.random.key(0)
            ),
            "starts from what it has read",
        ),
    ],
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
