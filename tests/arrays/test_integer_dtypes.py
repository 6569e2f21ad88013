"""Ids, targets and lengths of every integer dtype: none wraps, under jit or not."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.arrays.tokens import as_index, look_up
from rnn_jax.text import random_batches
from rnn_jax.training.rows import Used, add_rows, gather_rows, index_of

DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
V = 300  # more than 8 bits hold


def _ids(dtype: str, outside: bool) -> np.ndarray:
    """``[2, 2]``: ids of the vocabulary, and one that is -1 or the dtype's largest."""
    info = np.iinfo(dtype)
    bad = -1 if info.min < 0 else info.max
    return np.array([[0, 7], [100, bad if outside else 3]], dtype)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_means_the_same_ids(dtype: str, x64: bool) -> None:
    table = jnp.arange(V, dtype=jnp.float32)[:, None]
    logits = jax.random.normal(jax.random.key(0), (2, 2, V))
    with jax.enable_x64(x64):
        for outside in (False, True):
            if outside and dtype == "uint8":
                continue  # 255 is an id
            given: Any = _ids(dtype, outside)
            rows = look_up(table, given)[..., 0]
            expected = given.astype(float)
            if outside:
                expected[1, 1] = np.nan
            np.testing.assert_array_equal(rows, expected)
            if given.dtype.itemsize == 8 and not x64:
                continue  # jit itself cuts bits off
            ids = jnp.asarray(given)
            loss, gradient = jax.jit(jax.value_and_grad(r.cross_entropy))(logits, ids)
            assert np.isnan(loss) == outside
            if outside:
                assert np.isnan(gradient[1, 1]).all()
                assert np.isfinite(gradient[0]).all()
            else:
                plain = jax.value_and_grad(r.cross_entropy)(logits, ids.astype(jnp.int32))
                np.testing.assert_allclose(loss, plain[0], rtol=1e-6)
                np.testing.assert_allclose(gradient, plain[1], rtol=1e-5, atol=1e-8)
            for once in (False, True):
                looked_up, change = jax.jit(partial(_by_rows, table, once=once))(ids)
                np.testing.assert_array_equal(looked_up[..., 0], expected)
                distinct = len(np.unique(np.asarray(given)[np.isfinite(expected)]))
                assert change.sum() == (distinct if once else 4 - outside)


def _by_rows(table: Any, ids: Any, *, once: bool) -> Any:
    """``table[ids]``, and what is added to the table where each row that is used gets a one."""
    rows, positions = index_of(ids, None, once=once)
    tables = [Used(("w",), rows)]
    small = gather_rows({"w": table}, tables)
    ones = {"w": jnp.ones(small["w"].shape, table.dtype)}
    return look_up(small["w"], positions), add_rows({"w": table}, tables, ones)["w"] - table


@pytest.mark.parametrize("dtype", DTYPES[:-2])
def test_a_layer_reads_every_dtype_alike(dtype: str) -> None:
    layer = r.recurrent(r.gru(3))
    params = layer.init(jax.random.key(0), V)
    mask = jnp.ones((2, 2), bool)
    apply = jax.jit(lambda ids: layer.apply(params, None, ids, mask=mask)[1])
    expected = apply(jnp.array(_ids("int32", False)))
    np.testing.assert_array_equal(apply(jnp.array(_ids(dtype, False))), expected)
    if dtype != "uint8":
        got = np.isnan(apply(jnp.array(_ids(dtype, True)))).all(-1)
        np.testing.assert_array_equal(got, [[False, False], [False, True]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_length_mask_of_every_dtype(dtype: str) -> None:
    lengths = np.array([0, 3, 100], dtype)
    for x64 in (False, True):
        with jax.enable_x64(x64):
            got = jax.jit(lambda lengths: r.length_mask(lengths, V))(jnp.asarray(lengths))
            np.testing.assert_array_equal(got.sum(0), [0, 3, 100])


def test_ids_beyond_32_bits_do_not_become_others() -> None:
    far = np.array([2**32 + 5, 3])
    np.testing.assert_array_equal(as_index(far), [-1, 3])  # type: ignore[arg-type]
    layer = r.recurrent(r.gru(3))
    params = layer.init(jax.random.key(0), V)
    for mask in (None, jnp.ones(2, bool)):
        with pytest.raises(ValueError, match="outside the vocabulary"):
            layer.apply(params, None, far, mask=mask)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        next(random_batches(np.append(np.arange(9), 2**32), 1, 2, np.random.default_rng(0)))


def test_a_target_outside_the_vocabulary_makes_the_whole_step_nan() -> None:
    model = r.language_model(5, r.recurrent(r.gru(3)))
    optimizer = r.sgd(0.1)
    state = r.init_train_state(model, optimizer, model.init(jax.random.key(0)))
    step = jax.jit(r.make_train_step(model, optimizer))
    inputs = jnp.array([[0, 1], [2, 3]])
    new, metrics = step(state, r.Batch(inputs, jnp.array([[1, 2], [3, 5]])))
    assert np.isnan(metrics["loss"])
    readout, layer = new.params["readout"], new.params["layer"]
    assert np.isnan(readout["w"]).all() and np.isnan(readout["b"]).all()
    assert np.isnan(layer["w_hh"]).all()
    # where the padding holds it, nothing is wrong
    mask = r.length_mask(jnp.array([2, 1]), 2)
    new, metrics = step(state, r.Batch(inputs, jnp.array([[1, 2], [3, 5]]), mask))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((new.params, metrics)))


def test_integer_features_are_told_from_ids() -> None:
    layer = r.recurrent(r.gru(3))
    params = layer.init(jax.random.key(0), 2)
    features = jnp.array([[[0, 5]], [[1, 0]]])  # [T, B, D]
    with pytest.raises(ValueError, match=r"features of shape \(2, 1, 2\) must be floating"):
        layer.apply(params, None, features)
