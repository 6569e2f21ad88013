"""Masks and ids, and the errors of the recurrence for inputs that do not fit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnn_jax as r
from rnn_jax.arrays.masking import fill_masked, last_valid, select
from rnn_jax.arrays.tokens import check_ids, look_up

LAYER = r.recurrent(r.elman(3))
PARAMS = LAYER.init(jax.random.key(0), 5)


@given(st.lists(st.integers(0, 6), max_size=6))
def test_length_mask_and_last_valid(lengths: list[int]) -> None:
    mask = r.length_mask(jnp.array(lengths, int), 6)
    assert mask.shape == (6, len(lengths)) and mask.dtype == bool
    np.testing.assert_array_equal(mask.sum(axis=0), lengths)
    np.testing.assert_array_equal(mask, np.sort(mask, axis=0)[::-1])  # no hole
    np.testing.assert_array_equal(last_valid(mask), np.array(lengths, int) - 1)


def test_length_mask_of_every_batch_shape() -> None:
    np.testing.assert_array_equal(r.length_mask(jnp.array(2), 3), [True, True, False])
    assert r.length_mask(jnp.zeros((2, 3), int), 4).shape == (4, 2, 3)
    assert r.length_mask(jnp.array([0]), 0).shape == (0, 1)
    assert last_valid(jnp.ones((0, 2), bool)).tolist() == [-1, -1]
    assert last_valid(jnp.array([True, False, True, False])) == 2


@pytest.mark.parametrize(
    ("lengths", "message"),
    (
        ([1, 4], "lengths must lie in 0 … 3, but range from 1 to 4"),
        ([-1], "range from -1 to -1: pass the padded length"),
        ([1.0], "lengths must be integers, not float32"),
        ([True], "lengths must be integers, not bool"),
    ),
)
def test_bad_lengths(lengths: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        r.length_mask(jnp.array(lengths), 3)


def test_fill_and_select() -> None:
    mask = jnp.array([[True, False], [False, True]])
    xs = jnp.array([[[1.0, 2], [jnp.nan, 3]], [[4, jnp.inf], [5, 6]]])
    filled = fill_masked(xs, mask)
    np.testing.assert_array_equal(filled, [[[1, 2], [0, 0]], [[0, 0], [5, 6]]])
    assert fill_masked(xs, None) is xs
    a, b = (
        {"c": jnp.ones((2, 3)), "n": jnp.array([1, 2])},
        {"c": jnp.zeros((2, 3)), "n": jnp.zeros(2)},
    )
    chosen = select(jnp.array([True, False]), a, b)
    np.testing.assert_array_equal(chosen["c"], [[1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(chosen["n"], [1, 0])


@pytest.mark.parametrize("cell", [r.gru(3), r.lru(3), r.min_gru(3)], ids=lambda c: type(c).__name__)
def test_parameters_may_be_numpys(cell: Any) -> None:
    model = r.language_model(7, r.recurrent(cell), embedding_size=2)
    params = model.init(jax.random.key(0))
    ids: Any = np.array([[1, 2], [3, 4]])
    expected = model.apply(params, None, ids)[1]
    np.testing.assert_allclose(
        model.apply(jax.device_get(params), None, ids)[1], expected, rtol=1e-6
    )


def test_look_up_never_hits_another_row() -> None:
    table = jnp.arange(6.0).reshape(3, 2)
    rows = look_up(table, jnp.array([[0, 2], [-1, 3]]))
    np.testing.assert_array_equal(rows[0], [[0, 1], [4, 5]])
    assert np.isnan(rows[1]).all()


def test_integers_are_one_hot_vectors() -> None:
    ids = jnp.array([[0, 4], [3, 3], [1, 2]])
    for cell in (r.elman(3), r.elman(3, bias=False)):
        params = cell.init(jax.random.key(0), 5)
        by_row = r.unroll(cell, params, None, ids)
        by_product = r.unroll(cell, params, None, jax.nn.one_hot(ids, 5))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), by_row, by_product)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int16, jnp.uint32])
def test_narrow_id_dtypes(dtype: Any) -> None:
    ids = jnp.array([0, 4, 2])
    np.testing.assert_array_equal(
        LAYER.apply(PARAMS, None, ids.astype(dtype))[1], LAYER.apply(PARAMS, None, ids)[1]
    )


MODELS: tuple[Any, ...] = (
    r.language_model(5, LAYER),
    r.language_model(5, LAYER, embedding_size=4),
    r.language_model(5, r.serial(LAYER, LAYER)),
    r.truncate(r.language_model(5, LAYER), r.tail(2)),
    r.truncate(r.language_model(5, LAYER), r.sliding(0)),
)


@pytest.mark.parametrize("bad", [5, -1])
@pytest.mark.parametrize("model", MODELS, ids=range(len(MODELS)))
def test_ids_outside_the_vocabulary(model: Any, bad: int) -> None:
    params, ids = model.init(jax.random.key(0)), jnp.array([[0, 1], [bad, 2], [3, 4]])
    with pytest.raises(ValueError, match=f"token id {bad} lies outside the vocabulary of 5"):
        model.apply(params, None, ids)
    _, logits = jax.jit(model.apply)(params, None, ids)
    # Its row is NaN from there on; the other row is unaffected.
    np.testing.assert_array_equal(
        np.isnan(logits).all(axis=-1), [[False, False], [True, False], [True, False]]
    )
    np.testing.assert_array_equal(np.isnan(logits).any(axis=-1), np.isnan(logits).all(axis=-1))
    mask = jnp.array([[True, True], [False, True], [True, True]])
    assert np.isfinite(model.apply(params, None, ids, mask=mask)[1]).all()


def test_a_layer_alone_checks_ids_too() -> None:
    with pytest.raises(ValueError, match="token id 7 lies outside the vocabulary of 5"):
        LAYER.apply(PARAMS, None, jnp.array([1, 7]))
    assert np.isnan(jax.jit(LAYER.apply)(PARAMS, None, jnp.array([1, 7]))[0]).all()
    check_ids(jnp.array([9]), 5, jnp.array([False]))


@pytest.mark.parametrize(
    ("run", "message"),
    (
        (lambda: LAYER.apply(PARAMS, None, jnp.ones(5)), "has no time axis: pass float"),
        (lambda: LAYER.apply(PARAMS, None, jnp.array(3)), "has no time axis"),
        (lambda: LAYER.apply(PARAMS, None, jnp.ones((4, 2, 6))), "made for 5 features"),
        (
            lambda: LAYER.apply(PARAMS, None, jnp.ones((4, 2, 5)), mask=jnp.ones((2, 4), bool)),
            r"the mask has shape \(2, 4\), but the inputs have steps and rows \(4, 2\)",
        ),
        (
            lambda: LAYER.apply(PARAMS, None, jnp.ones((4, 2, 5)), mask=jnp.ones((4, 2))),
            "the mask must be boolean, not float32",
        ),
        (
            lambda: LAYER.apply(PARAMS, None, jnp.ones((4, 2, 5)), gradient_scale=jnp.ones(4)),
            r"the gradient_scale has shape \(4,\), but",
        ),
        (
            lambda: LAYER.apply(PARAMS, jnp.ones((3, 3)), jnp.ones((4, 2, 5))),
            r"the carry has shape \(3, 3\), but inputs of batch shape \(2,\) need \(2, 3\)",
        ),
        (
            # Broadcasting would take it for a batch.
            lambda: LAYER.apply(PARAMS, jnp.ones((4, 3)), jnp.ones((6, 5))),
            r"need \(3,\): pass initial_carry\(batch_shape\) or None",
        ),
        (
            lambda: LAYER.apply(PARAMS, (jnp.ones((2, 3)),), jnp.ones((4, 2, 5))),
            r"the carry has shape \(\(2, 3\),\)",
        ),
        (
            lambda: r.dropout(0.5).apply({}, (), jnp.ones((4, 2, 5)), mask=jnp.ones(4, bool)),
            "the mask has shape",
        ),
        (
            lambda: r.dropout(0.5).apply({}, (), jnp.ones((4, 2), int)),
            "dropout drops features, not token ids",
        ),
    ),
)
def test_bad_sequences(run: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run()
