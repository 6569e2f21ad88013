"""Generation compared with one step at a time, and its rules."""

from __future__ import annotations

import itertools
import math
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
SHARED: dict[str, Any] = {"prefix": PREFIX, "length": 6, "key": KEY}


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
    # The carry has already read the last token, so the next arg-max has to read it once more.
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


def test_tokens_given_as_arrays_are_those_given_as_integers() -> None:
    _, expected = generate(length=6, forbidden=(2, 5), stop=1, min_length=2)
    ways: list[dict[str, Any]] = [
        {"forbidden": jnp.array([2, 5]), "stop": jnp.array(1), "min_length": jnp.array(2)},
        {"forbidden": (np.int64(5), jnp.int32(2)), "stop": np.int32(1), "min_length": 2},
    ]
    for options in ways:
        _, tokens = generate(length=6, **options)
        np.testing.assert_array_equal(tokens, expected)


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
        ({"stop": 0.5}, r"stop takes token ids, integers, not \(0.5,\)"),
        ({"stop": jnp.array(1.0)}, "stop takes token ids, integers"),
        ({"forbidden": (1, 2.0)}, r"forbidden takes token ids, integers, not \(1, 2.0\)"),
        ({"forbidden": jnp.array([1.0])}, "forbidden takes token ids, integers"),
        ({"forbidden": 3}, "forbidden takes token ids, integers, not 3"),
        ({"top_k": 0}, "top_k must be an integer of at least 1, not 0"),
        ({"top_p": 0.0}, "top_p must lie in 0 … 1, excluding 0, not 0.0"),
        ({"top_p": float("nan")}, "top_p must lie"),
        ({"min_length": 2}, "needs a stop token"),
        ({"min_length": 7, "stop": 0}, "min_length=7 exceeds length=6"),
        ({"min_length": 1, "stop": 0, "forbidden": tuple(range(1, 7))}, "every token is forbidden"),
        ({"mask": jnp.array([[True, False]] * 2)}, "a row of the prefix is all masked"),
        ({"mask": jnp.ones((2, 3), bool)}, "the mask has shape"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(**options)
    with pytest.raises(ValueError, match=message):  # at the call, not at the first token
        rnn_jax.stream(MODEL, PARAMS, None, **{**SHARED, **options})
    with pytest.raises(ValueError, match="block must be an integer"):
        rnn_jax.stream(MODEL, PARAMS, None, **SHARED, block=0)


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


def support(
    logits: np.ndarray, top_k: int | None, top_p: float | None, banned: set[int]
) -> set[int]:
    """The tokens that may be drawn, from the most probable to the least."""
    order = sorted((v for v in range(len(logits)) if v not in banned), key=lambda v: -logits[v])
    order = order[:top_k]
    weights = [math.exp(logits[v]) for v in order]
    kept, reached = set(), 0.0
    for v, weight in zip(order, weights, strict=True):
        if reached < (1 if top_p is None else top_p):
            kept.add(v)
        reached += weight / sum(weights)
    return kept


@pytest.mark.parametrize(
    "top_k, top_p, forbidden",
    [
        (1, None, ()),
        (3, None, ()),
        (99, None, (4,)),
        (None, 1e-9, ()),
        (None, 0.5, (2,)),
        (None, 1.0, ()),
        (4, 0.8, (0, 6)),
    ],
)
def test_top_k_and_top_p_draw_from_their_support_in_proportion(
    top_k: int | None, top_p: float | None, forbidden: tuple[int, ...]
) -> None:
    rows = 10_000
    params = jax.tree.map(lambda p: 3 * p, PARAMS)  # less even
    _, tokens = rnn_jax.generate(
        MODEL, params, None, jnp.ones((1, rows), int), length=1, key=KEY, temperature=0.9,
        top_k=top_k, top_p=top_p, forbidden=forbidden,
    )  # fmt: skip
    logits = np.asarray(MODEL.apply(params, None, jnp.array([1]))[1][-1], np.float64) / 0.9
    kept = support(logits, top_k, top_p, set(forbidden))
    expected = np.array([math.exp(z) if v in kept else 0 for v, z in enumerate(logits)])
    observed = np.bincount(tokens[0], minlength=7) / rows
    assert set(np.flatnonzero(observed)) == kept
    np.testing.assert_allclose(observed, expected / expected.sum(), atol=5 * 0.5 / np.sqrt(rows))


def test_top_k_of_one_is_greedy() -> None:
    _, greedy = generate(temperature=0)
    for options in ({"top_k": 1}, {"top_p": 1e-9}):
        np.testing.assert_array_equal(generate(**options)[1], greedy)


def test_the_stop_token_waits_for_the_minimum() -> None:
    prefix = jnp.broadcast_to(jnp.array([[1]]), (1, 64))
    _, tokens = generate(prefix, length=8, stop=0, min_length=3)
    assert (tokens[:3] != 0).all() and (tokens[3] == 0).any()
    _, most = generate(length=6, stop=0, min_length=6)
    assert (most != 0).all()


def test_a_longer_generation_begins_with_the_shorter() -> None:
    np.testing.assert_array_equal(generate(length=9)[1][:4], generate(length=4)[1])


def test_prefixes_of_unequal_length_are_rows_alone() -> None:
    rows = [[1, 2, 3], [4], [5, 6]]
    padded = jnp.array([[1, 4, 5], [2, 99, 6], [3, -1, 99]])
    mask = rnn_jax.length_mask(jnp.array([3, 1, 2]), 3)
    carry, tokens = generate(padded, temperature=0, mask=mask)
    for i, row in enumerate(rows):
        alone, expected = generate(jnp.array(row), temperature=0)
        np.testing.assert_array_equal(tokens[:, i], expected)
        np.testing.assert_allclose(carry[i], alone, rtol=1e-5)


def drain(blocks: Any) -> tuple[Any, list[Any]]:
    """The return value of a generator, and everything that it yields."""
    yielded = []
    while True:
        try:
            yielded.append(next(blocks))
        except StopIteration as end:
            return end.value, yielded


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"top_k": 3, "top_p": 0.9}])
def test_a_stream_is_generate_block_by_block(block: int, options: dict[str, Any]) -> None:
    carry, blocks = drain(rnn_jax.stream(MODEL, PARAMS, None, **SHARED, block=block, **options))
    expected_carry, expected = generate(**options)
    assert [len(b) for b in blocks] == ([1] * 6 if block == 1 else [4, 2])
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    np.testing.assert_allclose(carry, expected_carry, rtol=1e-6)


def test_a_stream_ends_with_its_rows_or_with_its_caller() -> None:
    start = {**SHARED, "prefix": jnp.ones((1, 3), int)}
    del start["length"]
    carry, blocks = drain(rnn_jax.stream(MODEL, PARAMS, None, **start, stop=0))
    tokens = np.concatenate(blocks)
    assert (tokens[-1] == 0).all() and (tokens[-2] != 0).any()
    longer = len(tokens) + 5
    same, expected = rnn_jax.generate(MODEL, PARAMS, None, **start, stop=0, length=longer)
    np.testing.assert_array_equal(tokens, expected[: len(tokens)])
    np.testing.assert_allclose(carry, same, rtol=1e-6)
    endless = rnn_jax.stream(MODEL, PARAMS, None, **start)
    assert len(list(itertools.islice(endless, 40))) == 40
    none = rnn_jax.stream(MODEL, PARAMS, None, **start, length=0)
    assert list(none) == []
