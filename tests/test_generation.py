"""Generation against one step at a time, and its rules."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax

MODEL = rnn_jax.language_model(7, rnn_jax.recurrent(rnn_jax.elman(4)))
PARAMS = MODEL.init(jax.random.key(3))
PREFIX = jnp.array([[1, 2], [3, 4]])
KEY = jax.random.key(5)


def generate(prefix=PREFIX, *, length=6, key=KEY, **options):
    return rnn_jax.generate(MODEL, PARAMS, None, prefix, length=length, key=key, **options)


def test_greedy_is_the_arg_max_of_the_whole_prefix_again() -> None:
    carry, tokens = generate(temperature=0)
    text = PREFIX
    for token in tokens:
        _, logits = MODEL.apply(PARAMS, None, text)
        np.testing.assert_array_equal(token, logits[-1].argmax(-1))
        text = jnp.concatenate([text, token[None]])
    final, _ = MODEL.apply(PARAMS, None, text)
    np.testing.assert_allclose(carry, final, rtol=1e-5)


def test_a_generation_continues_from_its_carry() -> None:
    _, whole = generate(temperature=0, length=6)
    carry, first = generate(temperature=0, length=3)
    # The carry has read the last token already, so the next arg-max needs one more look at it.
    _, logits = MODEL.apply(PARAMS, None, jnp.concatenate([PREFIX, first]))
    nxt = logits[-1].argmax(-1)[None]
    _, rest = rnn_jax.generate(MODEL, PARAMS, carry, nxt, length=2, key=KEY, temperature=0)
    np.testing.assert_array_equal(whole, jnp.concatenate([first, nxt, rest]))


def test_draws_follow_the_softmax_without_the_forbidden_tokens() -> None:
    rows = 20_000
    prefix = jnp.broadcast_to(jnp.array([[1]]), (1, rows))
    _, tokens = generate(prefix, length=1, temperature=0.7, forbidden=(2, 5))
    _, logits = MODEL.apply(PARAMS, None, jnp.array([1]))
    expected = jax.nn.softmax((logits[-1] / 0.7).at[jnp.array([2, 5])].set(-jnp.inf))
    observed = np.bincount(tokens[0], minlength=7) / rows
    # Five standard deviations of a proportion from 20,000 draws.
    np.testing.assert_allclose(observed, expected, atol=5 * 0.5 / np.sqrt(rows))
    assert observed[2] == observed[5] == 0


def test_after_the_stop_token_a_row_repeats_it_and_holds_its_carry() -> None:
    prefix = jnp.broadcast_to(jnp.array([[1]]), (1, 64))
    carry, tokens = generate(prefix, length=12, stop=0)
    tokens = np.asarray(tokens)
    ended = (tokens == 0).any(axis=0)
    assert 0 < ended.sum() < 64
    for row in np.flatnonzero(ended)[:4]:
        end = int((tokens[:, row] == 0).argmax())
        assert (tokens[end:, row] == 0).all()
        read = jnp.concatenate([prefix[:, row], tokens[: end + 1, row]])
        final, _ = MODEL.apply(PARAMS, None, read)
        np.testing.assert_allclose(carry[row], final, rtol=1e-5, atol=1e-6)


def test_keys_alone_decide() -> None:
    _, a = generate()
    _, b = generate()
    _, c = generate(key=jax.random.key(6))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


@pytest.mark.parametrize("shape", [(1,), (3, 2, 2)])
def test_batch_shapes_and_no_token_at_all(shape: tuple[int, ...]) -> None:
    _, tokens = generate(jnp.zeros(shape, int), length=4)
    assert tokens.shape == (4, *shape[1:])
    carry, none = generate(jnp.zeros(shape, int), length=0)
    assert none.shape == (0, *shape[1:])
    expected, _ = MODEL.apply(PARAMS, None, jnp.zeros(shape, int))
    np.testing.assert_allclose(carry, expected, rtol=1e-6)


def test_predict_is_the_arg_max_at_every_step() -> None:
    carry, best = rnn_jax.predict(MODEL, PARAMS, None, PREFIX)
    expected_carry, logits = MODEL.apply(PARAMS, None, PREFIX)
    np.testing.assert_array_equal(best, logits.argmax(-1))
    np.testing.assert_array_equal(carry, expected_carry)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"prefix": jnp.zeros((0, 2), int)}, "prefix is empty"),
        ({"prefix": jnp.array([7])}, "token id 7 lies outside"),
        ({"temperature": -1.0}, "temperature must be finite"),
        ({"temperature": float("nan")}, "temperature must be finite"),
        ({"length": -1}, "length must be an integer"),
        ({"forbidden": tuple(range(7))}, "every token is forbidden"),
        ({"stop": 9}, "stop token 9 lies outside"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(**options)


def test_a_narrow_prefix_does_not_narrow_the_tokens() -> None:
    model = rnn_jax.language_model(300, rnn_jax.recurrent(rnn_jax.elman(2)))
    params = model.init(jax.random.key(0))
    params["readout"]["b"] = params["readout"]["b"].at[299].set(50.0)
    prefix = jnp.array([1], jnp.uint8)
    _, tokens = rnn_jax.generate(model, params, None, prefix, length=2, key=KEY, temperature=0)
    assert tokens.tolist() == [299, 299]


def test_only_a_causal_model_generates() -> None:
    model = rnn_jax.language_model(7, rnn_jax.recurrent(rnn_jax.elman(4), reverse=True))
    with pytest.raises(ValueError, match="not causal"):
        rnn_jax.generate(model, PARAMS, None, PREFIX, length=2, key=KEY)
