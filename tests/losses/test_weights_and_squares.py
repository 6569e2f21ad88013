"""Class weights and squared errors beside NumPy, in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnn_jax as r

REDUCTIONS: tuple[Any, ...] = ("mean", "sum", "none")


def _weighted(logits: Any, targets: Any, mask: Any, weights: Any) -> dict[str, Any]:
    """Entry by entry, as `torch.nn.CrossEntropyLoss(weight=…)` documents it."""
    losses, total = np.zeros(targets.shape), 0.0
    for at in zip(*np.nonzero(mask), strict=True):
        p = np.exp(logits[at]) / np.exp(logits[at]).sum()
        losses[at] = -weights[targets[at]] * np.log(p[targets[at]])
        total += weights[targets[at]]
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / total if total else 0.0}


@given(st.integers(0, 10**6), st.sampled_from([(4,), (4, 2), (3, 2, 2)]), st.booleans())
def test_class_weights_by_hand(seed: int, shape: tuple[int, ...], masked: bool) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(0, 3, (*shape, 4)), rng.integers(0, 4, shape)
    weights = rng.uniform(0, 2, 4) * (rng.random(4) < 0.8)  # some classes do not count
    mask = rng.random(shape) < 0.6 if masked else np.ones(shape, bool)
    expected = _weighted(logits, targets, mask, weights)
    with jax.enable_x64(True):
        bad = jnp.asarray(np.where(mask[..., None], logits, np.nan))
        ids = jnp.asarray(np.where(mask, targets, 99))
        for reduction in REDUCTIONS:
            got = r.cross_entropy(
                bad, ids, mask=jnp.asarray(mask) if masked else None, reduction=reduction,
                class_weights=jnp.asarray(weights),
            )  # fmt: skip
            np.testing.assert_allclose(got, expected[reduction], rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_gradient_under_class_weights() -> None:
    rng = np.random.default_rng(0)
    logits, targets, weights = rng.normal(size=(5, 3)), np.array([0, 2, 1, 2, 7]), [0.5, 0.0, 2.0]
    mask = jnp.arange(5) < 4
    logits[4] = np.nan
    slope = jax.grad(
        lambda z: r.cross_entropy(
            z, jnp.asarray(targets), mask=mask, class_weights=jnp.array(weights)
        )
    )(jnp.asarray(logits))
    p = np.exp(logits[:4]) / np.exp(logits[:4]).sum(-1, keepdims=True)
    w = np.array(weights)[targets[:4]]
    expected = w[:, None] * (p - np.eye(3)[targets[:4]]) / w.sum()
    np.testing.assert_allclose(slope[:4], expected, rtol=1e-12, atol=1e-15)
    assert not np.any(slope[4])


def test_weights_of_one_change_nothing_and_unknown_targets_stay_nan() -> None:
    logits = jax.random.normal(jax.random.key(0), (6, 2, 4))
    targets, ones = jnp.arange(12).reshape(6, 2) % 4, np.ones(4, int)
    for reduction in REDUCTIONS:
        plain = r.cross_entropy(logits, targets, reduction=reduction)
        got = r.cross_entropy(logits, targets, reduction=reduction, class_weights=ones)  # type: ignore[arg-type]
        np.testing.assert_allclose(got, plain, rtol=1e-6)
    value, slope = jax.jit(jax.value_and_grad(r.cross_entropy))(logits, targets.at[0, 0].set(-1))
    weighted = jax.jit(
        jax.value_and_grad(lambda z, t: r.cross_entropy(z, t, class_weights=jnp.ones(4)))
    )(logits, targets.at[0, 0].set(-1))
    assert np.isnan(value) and np.isnan(weighted[0])
    assert np.isnan(slope[0, 0]).all() and np.isnan(weighted[1][0, 0]).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    (
        (jnp.ones(3), r"class_weights of shape \(3,\) .* do not fit 4 classes: pass float\[4\]"),
        (jnp.ones((4, 1)), "do not fit 4 classes"),
        (jnp.ones(4, complex), "complex64 do not fit"),
        (jnp.array([1, 1, 1, -1.0]), "must be finite and at least 0"),
        (jnp.array([1, 1, 1, jnp.nan]), "must be finite and at least 0"),
    ),
)
def test_class_weights_that_do_not_fit(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        r.cross_entropy(jnp.zeros((5, 4)), jnp.zeros(5, int), class_weights=weights)


@given(st.integers(0, 10**6), st.sampled_from([(), (4,), (4, 2), (3, 2, 2)]), st.booleans())
def test_squared_errors_by_hand(seed: int, shape: tuple[int, ...], masked: bool) -> None:
    rng = np.random.default_rng(seed)
    ys, targets = rng.normal(size=(2, *shape, 3))
    mask = rng.random(shape) < 0.6 if masked else np.ones(shape, bool)
    valid = ((ys - targets) ** 2)[mask]
    per_step = np.where(mask, ((ys - targets) ** 2).mean(-1), 0)
    expected = {
        "mean": valid.mean() if valid.size else 0.0,  # over valid steps and features
        "sum": per_step.sum(),
        "none": per_step,
    }
    with jax.enable_x64(True):
        bad = [jnp.asarray(np.where(mask[..., None], a, np.nan)) for a in (ys, targets)]
        given_mask = jnp.asarray(mask) if masked else None
        for reduction in REDUCTIONS:
            got = r.mean_squared_error(*bad, mask=given_mask, reduction=reduction)
            np.testing.assert_allclose(got, expected[reduction], rtol=1e-12, atol=1e-12)
        slopes = jax.grad(lambda a, b: r.mean_squared_error(a, b, mask=given_mask), argnums=(0, 1))(
            *bad
        )
    wanted = np.where(mask[..., None], 2 * (ys - targets), 0) / max(valid.size, 1)
    np.testing.assert_allclose(slopes[0], wanted, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(slopes[1], -wanted, rtol=1e-12, atol=1e-15)


def test_squared_errors_in_other_dtypes() -> None:
    ys = jnp.asarray(np.random.default_rng(0).normal(size=(3000, 1)), jnp.bfloat16)
    got = r.mean_squared_error(ys, jnp.zeros((3000, 1), jnp.int8), reduction="sum")
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, (np.asarray(ys, float) ** 2).sum(), rtol=1e-5)
    with jax.numpy_dtype_promotion("strict"):
        assert r.mean_squared_error(ys.astype(jnp.float32), jnp.ones((3000, 1), jnp.int8)) > 0


@pytest.mark.parametrize(
    ("ys", "targets", "options", "message"),
    (
        ((4, 2, 1), (4, 2), {}, r"targets of shape \(4, 2\) do not fit .*one value a step, \[T, B"),
        ((4, 2, 1), (4, 1, 1), {}, "do not fit predictions"),
        ((), (), {}, "do not fit predictions"),
        ((4, 2, 3), (4, 2, 3), {"mask": jnp.ones((4, 2, 3), bool)}, "the mask has shape"),
        ((4, 2, 3), (4, 2, 3), {"mask": jnp.ones((4, 2))}, "the mask must be boolean"),
        ((4, 2, 3), (4, 2, 3), {"reduction": "max"}, "reduction must be 'mean'"),
    ),
)
def test_squared_errors_that_do_not_fit(ys: Any, targets: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        r.mean_squared_error(jnp.zeros(ys), jnp.zeros(targets), **options)


def test_squared_errors_of_complex_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="targets must be real, not complex64"):
        r.mean_squared_error(jnp.zeros((3, 1)), jnp.zeros((3, 1), complex))
