"""Beam search compared with all sequences and with a slow search, and its rules."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax
from tests.cases import quick_jit

V, L = 4, 4
MODEL = rnn_jax.language_model(V, rnn_jax.serial(*[rnn_jax.recurrent(rnn_jax.lstm(3))] * 2))
# Larger than at the start of training, so that the order of beams changes on the way.
PARAMS = jax.tree.map(lambda p: 4 * p, MODEL.init(jax.random.key(3)))
PREFIX = jnp.array([[1, 2], [3, 0]])


EVERYTHING = np.array(list(itertools.product(range(V), repeat=L))).T  # [L, V^L]
Table = dict[tuple[int, ...], np.ndarray]


def search(
    prefix: Any = PREFIX, *, beams: int = 3, length: int = L, params: Any = PARAMS, **options: Any
) -> Any:
    tokens, scores = rnn_jax.beam_search(
        MODEL, params, None, prefix, beams=beams, length=length, **options
    )
    return np.asarray(tokens), np.asarray(scores)


def _log_probs(params: Any, xs: jax.Array) -> jax.Array:
    _, logits = MODEL.apply(params, None, xs[:-1])
    return -rnn_jax.cross_entropy(logits, xs[1:], reduction="none")


@functools.cache
def tables() -> tuple[Any, list[Table]]:
    """Parameters in float64, and for each row ``log P`` of each token of every continuation."""
    params = jax.tree.map(lambda p: p.astype(float), PARAMS)
    shape = (2, V**L)
    head = np.broadcast_to(np.asarray(PREFIX)[..., None], (2, *shape))
    xs = np.concatenate([head, np.broadcast_to(EVERYTHING[:, None], (L, *shape))])
    each = quick_jit(_log_probs, ())(params, xs)[1:]
    by_row: list[Table] = [{}, {}]
    for row, table in enumerate(by_row):
        for sequence, probs in zip(EVERYTHING.T.tolist(), each[:, row].T, strict=True):
            table |= {tuple(sequence[:n]): probs[:n] for n in range(1, L + 1)}
    return params, by_row


def score(log_probs: np.ndarray, penalty: float) -> float:
    return float(log_probs.sum() / ((5 + len(log_probs)) / 6) ** penalty)


def hypotheses(
    table: Table, stop: int | None, penalty: float, allowed: Any = lambda sequence: True
) -> list[tuple[float, list[int]]]:
    """Every continuation with its score, best first."""
    return sorted(
        (
            (score(probs, penalty), list(sequence))
            for sequence, probs in table.items()
            if stop not in sequence[:-1]
            and (len(sequence) == L or sequence[-1] == stop)
            and allowed(sequence)
        ),
        reverse=True,
    )


def narrow(table: Table, beams: int, stop: int, penalty: float) -> list[tuple[float, list[int]]]:
    """The search itself, on lists."""
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for _ in range(L):
        longer = [[*tokens, v] for _, tokens in live for v in range(V)]
        scored = [(table[tuple(t)], t) for t in longer]
        finished += [(score(p, penalty), t) for p, t in scored if t[-1] == stop]
        finished = sorted(finished, reverse=True)[:beams]
        on = [(float(p.sum()), t) for p, t in scored if t[-1] != stop]
        live = sorted(on, reverse=True)[:beams]
    finished += [(s / ((5 + L) / 6) ** penalty, t) for s, t in live]
    return sorted(finished, reverse=True)[:beams]


def assert_found(tokens: Any, scores: Any, expected: Any, stop: int | None) -> None:
    """Assert that the beams of one row, ``[L, K]`` and ``[K]``, are the expected ones in order."""
    assert len(expected) <= len(scores)
    for k, (value, sequence) in enumerate(expected):
        assert tokens[:, k].tolist() == sequence + [stop] * (L - len(sequence))
        np.testing.assert_allclose(scores[k], value, rtol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("stop, penalty", [(None, 0.0), (0, 0.6), (2, 1.0)])
def test_with_enough_beams_the_search_is_exhaustive(stop: int | None, penalty: float) -> None:
    params, rows = tables()
    tokens, scores = search(beams=V**L + 3, stop=stop, length_penalty=penalty, params=params)
    for b, table in enumerate(rows):
        expected = hypotheses(table, stop, penalty)
        assert_found(tokens[:, b], scores[b], expected, stop)
        assert (scores[b, len(expected) :] == -np.inf).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("beams, penalty", [(1, 0.0), (2, 0.6), (5, 2.0)])
def test_few_beams_are_the_slow_search(beams: int, penalty: float) -> None:
    params, rows = tables()
    tokens, scores = search(beams=beams, stop=3, length_penalty=penalty, params=params)
    for b, table in enumerate(rows):
        assert_found(tokens[:, b], scores[b], narrow(table, beams, 3, penalty), 3)


def test_one_beam_without_a_stop_is_greedy() -> None:
    tokens, _ = search(beams=1)
    _, greedy = rnn_jax.generate(
        MODEL, PARAMS, None, PREFIX, length=L, key=jax.random.key(0), temperature=0
    )
    np.testing.assert_array_equal(tokens[..., 0], greedy)


@pytest.mark.usefixtures("x64")
def test_forbidden_tokens_and_the_minimum_are_left_out_without_rescaling() -> None:
    params, rows = tables()
    tokens, scores = search(beams=200, stop=0, forbidden=(2,), min_length=2, params=params)

    def allowed(sequence: tuple[int, ...]) -> bool:
        return 2 not in sequence and 0 not in sequence[:2]

    for b, table in enumerate(rows):
        expected = hypotheses(table, 0, 0.0, allowed)
        assert_found(tokens[:, b], scores[b], expected, 0)
        assert (scores[b, len(expected) :] == -np.inf).all()


def test_rows_masks_and_carries_do_not_mix() -> None:
    options: dict[str, Any] = {"stop": 0, "length_penalty": 0.6}
    padded, mask = jnp.array([[1, 2], [99, 0]]), jnp.array([[True, True], [False, True]])
    tokens, scores = search(padded, mask=mask, **options)
    for b, row in enumerate([[1], [2, 0]]):
        alone = search(jnp.array(row), **options)
        np.testing.assert_array_equal(tokens[:, b], alone[0])
        np.testing.assert_allclose(scores[b], alone[1], rtol=1e-5)
    carry, _ = MODEL.apply(PARAMS, None, PREFIX[:1])
    resumed = rnn_jax.beam_search(MODEL, PARAMS, carry, PREFIX[1:], beams=3, length=L, **options)
    whole = search(**options)
    np.testing.assert_array_equal(resumed[0], whole[0])
    np.testing.assert_allclose(resumed[1], whole[1], rtol=1e-5)


def test_shapes_and_no_token_at_all() -> None:
    tokens, scores = search(jnp.zeros((3, 2, 2), int), beams=2)
    assert tokens.shape == (L, 2, 2, 2) and scores.shape == (2, 2, 2)
    tokens, scores = search(length=0, beams=2)
    assert tokens.shape == (0, 2, 2)
    np.testing.assert_array_equal(scores, [[0, -np.inf]] * 2)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"beams": 0}, "beams must be an integer of at least 1"),
        ({"length": -1}, "length must be an integer"),
        ({"length_penalty": -0.1}, "length_penalty must be finite and at least 0"),
        ({"min_length": 1}, "needs a stop token"),
        ({"prefix": jnp.zeros((0, 2), int)}, "prefix is empty"),
        ({"stop": 4}, "stop token 4 lies outside"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(**options)
