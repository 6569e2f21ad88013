"""Losses compared with NumPy in float64, written by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnn_jax as r


def by_hand(logits: Any, targets: Any) -> Any:
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return -np.log(np.take_along_axis(p, targets[..., None], axis=-1)[..., 0])


@given(st.integers(0, 10**6), st.sampled_from([(4,), (4, 2), (3, 2, 2)]), st.booleans())
def test_cross_entropy_by_hand(seed: int, shape: tuple[int, ...], masked: bool) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(0, 3, (*shape, 6)), rng.integers(0, 6, shape)
    mask = rng.random(shape) < 0.6 if masked else np.ones(shape, bool)
    losses = np.where(mask, by_hand(logits, targets), 0)
    bad_logits = np.where(mask[..., None], logits, np.nan)
    bad_targets = np.where(mask, targets, 99)
    with jax.enable_x64(True):
        given_mask = jnp.asarray(mask) if masked else None
        for reduction, expected in (
            ("none", losses),
            ("sum", losses.sum()),
            ("mean", losses.sum() / max(mask.sum(), 1)),
        ):
            got = r.cross_entropy(
                jnp.asarray(bad_logits), jnp.asarray(bad_targets), mask=given_mask,
                reduction=reduction,  # type: ignore[arg-type]
            )  # fmt: skip
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_gradient_is_softmax_minus_one_hot_and_zero_where_masked() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(3, 2, 5)), np.array([[0, 1], [4, 4], [7, -1]])
    mask = np.array([[1, 1], [1, 0], [0, 0]], bool)
    poisoned = np.where(mask[..., None], logits, np.nan)
    with jax.enable_x64(True):
        got = jax.grad(lambda z: r.cross_entropy(z, jnp.asarray(targets), mask=jnp.asarray(mask)))(
            jnp.asarray(poisoned)
        )
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = np.where(mask[..., None], p - np.eye(5)[np.where(mask, targets, 0)], 0) / 3
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shape", [(0, 3), (3, 2)])
def test_mean_of_nothing_is_zero(shape: tuple[int, ...]) -> None:
    logits, targets = jnp.full((*shape, 5), jnp.nan), jnp.zeros(shape, int)
    mask = jnp.zeros(shape, bool)
    value, slope = jax.value_and_grad(lambda z: r.cross_entropy(z, targets, mask=mask))(logits)
    assert value == 0 and not np.any(slope)
    assert r.cross_entropy(logits[:0], targets[:0]) == 0


@pytest.mark.parametrize("bad", [5, -1, -5, 10**6])
def test_targets_outside_the_vocabulary(bad: int) -> None:
    logits, targets = jnp.zeros((3, 5)), jnp.array([0, bad, 2])
    with pytest.raises(ValueError, match=f"target {bad} lies outside the vocabulary of 5"):
        r.cross_entropy(logits, targets)
    losses = jax.jit(lambda t: r.cross_entropy(logits, t, reduction="none"))(targets)
    np.testing.assert_array_equal(np.isnan(losses), [False, True, False])
    assert np.isnan(jax.jit(r.cross_entropy)(logits, targets))
    # At a masked step it may be anything.
    mask = jnp.array([True, False, True])
    assert np.isclose(r.cross_entropy(logits, targets, mask=mask), np.log(5))
    assert np.isclose(jax.jit(lambda t: r.cross_entropy(logits, t, mask=mask))(targets), np.log(5))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int16, jnp.uint32])
def test_narrow_target_dtypes(dtype: Any) -> None:
    """A vocabulary larger than the targets' dtype can count does not wrap them."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 300)), jnp.float32)
    expected = r.cross_entropy(logits, jnp.array([0, 100, 127]))
    assert r.cross_entropy(logits, jnp.array([0, 100, 127], dtype)) == expected


def test_bfloat16_is_reduced_in_float32() -> None:
    """In bfloat16 a sum of 1000 losses near 2 would stop growing at a few hundred."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(1000, 8)), jnp.bfloat16)
    targets = jnp.arange(1000) % 8
    got = r.cross_entropy(logits, targets, reduction="sum")
    assert got.dtype == jnp.float32
    expected = by_hand(np.asarray(logits, np.float64), np.asarray(targets)).sum()
    np.testing.assert_allclose(got, expected, rtol=1e-5)  # room for 1000 float32 roundings
    slope = jax.grad(lambda z: r.cross_entropy(z, targets))(logits)
    assert slope.dtype == jnp.bfloat16


def test_large_logits_do_not_overflow() -> None:
    logits = jnp.array([[1e4, -1e4], [-1e30, 1e30]])
    np.testing.assert_array_equal(
        r.cross_entropy(logits, jnp.array([0, 1]), reduction="none"), [0, 0]
    )


@pytest.mark.parametrize("embedding", [None, 8])
def test_untrained_loss_is_the_logarithm_of_the_vocabulary(embedding: int | None) -> None:
    V, rng = 2000, np.random.default_rng(0)
    model = r.language_model(V, r.recurrent(r.elman(20)), embedding_size=embedding)
    ids = jnp.asarray(rng.integers(0, V, (21, 8)))
    params = model.init(jax.random.key(0))
    if embedding is not None:  # states near ±1 make logits of size 1/√3: scale them down
        params["embedding"] = 0.01 * params["embedding"]
    _, logits = model.apply(params, None, ids[:-1])
    assert abs(float(r.cross_entropy(logits, ids[1:])) / np.log(V) - 1) < 0.01


@given(st.floats(0, 20))
def test_perplexity(loss: float) -> None:
    np.testing.assert_allclose(r.perplexity(loss), np.exp(loss), rtol=1e-5)


@pytest.mark.parametrize(
    ("logits", "targets", "options", "message"),
    (
        ((4, 5), (3,), {}, r"targets of shape \(3,\) do not fit logits of shape \(4, 5\)"),
        ((4, 5), (4, 1), {}, "targets must have the logits' shape without its last axis"),
        ((4, 2, 5), (4, 2), {"mask": jnp.ones(4, bool)}, r"the mask has shape \(4,\)"),
        ((4, 5), (4,), {"mask": jnp.ones(4)}, r"mask must be boolean, not float32: pass mask\.as"),
        ((4, 5), (4,), {"reduction": "max"}, "reduction must be 'mean', 'sum' or 'none'"),
    ),
)
def test_bad_input(logits: Any, targets: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        r.cross_entropy(jnp.zeros(logits), jnp.zeros(targets, int), **options)


def test_targets_must_be_integers() -> None:
    with pytest.raises(ValueError, match="targets must be token ids, integers, not float32"):
        r.cross_entropy(jnp.zeros((4, 5)), jnp.zeros(4))


def test_ridge_with_nothing_left_to_fit_is_an_error_and_nan_under_jit() -> None:
    features, targets = jnp.ones((5, 2, 3)), jnp.ones((5, 2, 1))
    early = r.length_mask(jnp.array([2, 1]), 5)
    for washout, mask in ((0, jnp.zeros((5, 2), bool)), (2, early)):
        with pytest.raises(ValueError, match="leave no step to fit"):
            r.ridge(features, targets, penalty=0.1, washout=washout, mask=mask)
        fit = jax.jit(
            lambda m, w=washout: r.ridge(features, targets, penalty=0.1, washout=w, mask=m)
        )
        assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(fit(mask)))
    with pytest.raises(ValueError, match="leave no step"):
        r.ridge(features[:, :0], targets[:, :0], penalty=0.1)
    with pytest.raises(ValueError, match="must be finite"):
        r.ridge(features, targets, penalty=float("inf"))
