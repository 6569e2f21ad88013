"""Label smoothing beside PyTorch's formula in NumPy and beside optax, in float64."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rnn_jax as r

REDUCTIONS: tuple[Any, ...] = ("mean", "sum", "none")


def by_hand(logits: Any, targets: Any, mask: Any, weights: Any, smoothing: float) -> dict[str, Any]:
    """Entry by entry, as `torch.nn.CrossEntropyLoss(weight=…, label_smoothing=…)` has it."""
    losses, total = np.zeros(targets.shape), 0.0
    for at in zip(*np.nonzero(mask), strict=True):
        nll = np.log(np.exp(logits[at]).sum()) - logits[at]
        kept = np.isfinite(nll)
        evenly = (weights * nll)[kept].sum() / kept.sum()
        losses[at] = (1 - smoothing) * (weights * nll)[targets[at]] + smoothing * evenly
        total += weights[targets[at]]
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / total if total else 0.0}


@settings(max_examples=8)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(4,), (4, 2), (3, 2, 2)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.1, 1.0]),
)
def test_label_smoothing_by_hand(
    seed: int, shape: tuple[int, ...], masked: bool, weighted: bool, smoothing: float
) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(0, 3, (*shape, 4)), rng.integers(0, 4, shape)
    weights = rng.uniform(0, 2, 4) * (rng.random(4) < 0.8) if weighted else np.ones(4)
    mask = rng.random(shape) < 0.6 if masked else np.ones(shape, bool)
    expected = by_hand(logits, targets, mask, weights, smoothing)
    with jax.enable_x64(True):
        bad = jnp.asarray(np.where(mask[..., None], logits, np.nan))
        ids = jnp.asarray(np.where(mask, targets, 99))
        for reduction in REDUCTIONS:
            got = r.cross_entropy(
                bad, ids, mask=jnp.asarray(mask) if masked else None, reduction=reduction,
                class_weights=jnp.asarray(weights) if weighted else None, label_smoothing=smoothing,
            )  # fmt: skip
            np.testing.assert_allclose(got, expected[reduction], rtol=1e-12, atol=1e-12)


LOGITS = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]])


def test_the_formula_written_out(x64: None) -> None:
    """``torch.nn.CrossEntropyLoss(weight=[1, 2, 0.5], label_smoothing=0.2)``, term by term."""
    z = np.log(np.exp(LOGITS).sum(-1, keepdims=True)) - LOGITS  # 2.4076, 1.4076, 0.4076; …
    first = 0.8 * 0.5 * z[0, 2] + 0.2 / 3 * (1 * z[0, 0] + 2 * z[0, 1] + 0.5 * z[0, 2])
    second = 0.8 * 2 * z[1, 1] + 0.2 / 3 * (1 * z[1, 0] + 2 * z[1, 1] + 0.5 * z[1, 2])
    loss = partial(
        r.cross_entropy,
        jnp.asarray(LOGITS),
        jnp.array([2, 1]),
        class_weights=jnp.array([1.0, 2.0, 0.5]),
        label_smoothing=0.2,
    )
    np.testing.assert_allclose(loss(reduction="none"), [first, second], rtol=1e-14)
    np.testing.assert_allclose(loss(), (first + second) / 2.5, rtol=1e-14)


def test_the_mean_of_targets_without_weight_is_0() -> None:
    """Also where smoothing gives them a loss, and also its gradient; PyTorch's is NaN."""
    loss = partial(
        r.cross_entropy, targets=jnp.array([0, 0]), class_weights=jnp.array([0.0, 2.0, 0.5]),
        label_smoothing=0.2,
    )  # fmt: skip
    value, slope = jax.value_and_grad(loss)(jnp.asarray(LOGITS))
    assert value == 0 and not slope.any()
    assert loss(jnp.asarray(LOGITS), reduction="sum") > 0


def test_torch_itself(x64: None) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    logits, targets, weights = rng.normal(size=(6, 5)), rng.integers(0, 5, 6), rng.random(5)
    for reduction in REDUCTIONS:
        theirs = torch.nn.CrossEntropyLoss(
            weight=torch.tensor(weights), label_smoothing=0.3, reduction=reduction
        )(torch.tensor(logits), torch.tensor(targets))
        ours = r.cross_entropy(
            jnp.asarray(logits), jnp.asarray(targets), reduction=reduction,
            class_weights=jnp.asarray(weights), label_smoothing=0.3,
        )  # fmt: skip
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)


def test_values_and_gradients_of_optax(x64: None) -> None:
    rng = np.random.default_rng(1)
    logits, targets = (
        jnp.asarray(rng.normal(0, 3, (5, 2, 6))),
        jnp.asarray(rng.integers(0, 6, (5, 2))),
    )

    def theirs(logits: Any) -> Any:
        labels = optax.smooth_labels(jax.nn.one_hot(targets, 6, dtype=logits.dtype), 0.1)
        return optax.softmax_cross_entropy(logits, labels).mean()

    def ours(logits: Any) -> Any:
        return r.cross_entropy(logits, targets, label_smoothing=0.1)

    for mine, other in zip(
        jax.value_and_grad(ours)(logits), jax.value_and_grad(theirs)(logits), strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-15)


def test_a_forbidden_class_gets_no_share(x64: None) -> None:
    """As if it were not there, in value and gradient; NaN is not forbidden but an error."""
    logits = jnp.array([[1.0, -jnp.inf, 0.5, 2.0]])
    loss = partial(r.cross_entropy, label_smoothing=0.3)
    value, slope = jax.value_and_grad(lambda z: loss(z, jnp.array([2])))(logits)
    kept = logits[:, jnp.array([0, 2, 3])]
    expected, short = jax.value_and_grad(lambda z: loss(z, jnp.array([1])))(kept)
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(slope[0], [short[0, 0], 0, short[0, 1], short[0, 2]], rtol=1e-13)
    assert np.isinf(loss(logits, jnp.array([1])))  # the target itself
    assert np.isnan(loss(logits.at[0, 0].set(jnp.nan), jnp.array([2])))
    unknown = jax.jit(lambda t: loss(kept, t))(jnp.array([9]))
    assert np.isnan(unknown)


def test_evaluation_is_without_it() -> None:
    model = r.language_model(7, r.recurrent(r.elman(3)))
    params = model.init(jax.random.key(0))
    data = r.Windows(jnp.ones((2, 3, 2), int), jnp.ones((2, 3, 2), int))
    step = r.make_train_step(model, r.sgd(0.1), loss=partial(r.cross_entropy, label_smoothing=0.5))
    nats, tokens = r.make_evaluate(model)(params, data)
    batch = r.Batch(data.inputs[0], data.targets[0])
    _, metrics = step(r.init_train_state(model, r.sgd(0.1), params), batch)
    assert abs(float(metrics["loss"]) - float(nats / tokens)) > 1e-2
    plain = r.cross_entropy(model.apply(params, None, data.inputs[0])[1], data.targets[0])
    np.testing.assert_allclose(nats / tokens, plain, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan"), "much"])
def test_a_share_outside_is_refused(smoothing: Any) -> None:
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\]"):
        r.cross_entropy(jnp.zeros((2, 3)), jnp.array([0, 1]), label_smoothing=smoothing)
