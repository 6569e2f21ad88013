"""The adaptive softmax beside its definition, PyTorch's module, and the loss of all its logits."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.losses import cluster
from tests.cases import QUICK, assert_close

STEPS, BATCH, H, V = 5, 7, 12, 23
CUTOFFS = (3, 8, 9)
SOFTMAX = r.adaptive_softmax(CUTOFFS, factor=2.0)
GOLDEN = Path(__file__).parents[1] / "golden" / "adaptive-softmax.npz"
exact = pytest.mark.usefixtures("x64")

# Compiled as one program: operation by operation it takes ten times as long.
compiled = partial(jax.jit, compiler_options=QUICK)


def drawn(seed: int = 0, bias: bool = True, steps: int = STEPS, dtype: Any = float) -> Any:
    """Parameters, features ``[T, B, H]`` and targets of all words."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: SOFTMAX.init(jax.random.key(0), H, V, bias=bias))
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), dtype), shapes)
    features = jnp.asarray(rng.normal(size=(steps, BATCH, H)), dtype)
    return params, features, jnp.asarray(rng.integers(0, V, (steps, BATCH)))


def by_hand(params: Any, h: Any) -> Any:
    """The probabilities ``[V]`` of one feature vector, word by word."""

    def softmax(z: Any) -> Any:
        return np.exp(z) / np.exp(z).sum()

    params, h = jax.device_get((params, h))
    head = softmax(h @ params["head"]["w"] + params["head"].get("b", 0))
    found = list(head[:3])
    for i, entry in enumerate(head[3:]):
        tail = params["tails"][str(i)]
        found += list(entry * softmax(h @ tail["down"] @ tail["w"]))
    return np.array(found)


def of_all_logits(params: Any, features: Any, targets: Any, **options: Any) -> Any:
    return r.cross_entropy(SOFTMAX.logits(params, features), targets, **options)


@exact
@pytest.mark.parametrize("bias", [True, False])
def test_logits_are_the_log_probabilities_of_the_definition(bias: bool) -> None:
    params, features, _ = drawn(bias=bias)
    found = compiled(SOFTMAX.logits)(params, features)
    assert found.shape == (STEPS, BATCH, V)
    for h, log_p in zip(features.reshape(-1, H), found.reshape(-1, V), strict=True):
        np.testing.assert_allclose(np.exp(log_p), by_hand(params, h), rtol=1e-12)
    np.testing.assert_allclose(jax.nn.log_softmax(found), found, rtol=1e-12)
    one = compiled(SOFTMAX.logits)(params, features[0, 0])
    np.testing.assert_allclose(one, found[0, 0], rtol=1e-12)


def test_parameters_are_laid_out_and_drawn_as_documented() -> None:
    params = r.adaptive_softmax([20, 60, 61], factor=3.0).init(
        jax.random.key(0), 16, 100, bias=True
    )
    shapes = jax.tree.map(lambda p: p.shape, params)
    assert shapes == {
        "head": {"w": (16, 23), "b": (23,)},
        "tails": {
            "0": {"down": (16, 5), "w": (5, 40)},
            "1": {"down": (16, 1), "w": (1, 1)},
            "2": {"down": (16, 1), "w": (1, 39)},  # PyTorch's would have no feature left
        },
    }
    assert not params["head"]["b"].any()
    for leaf in (params["head"]["w"], params["tails"]["0"]["w"], params["tails"]["2"]["down"]):
        assert 0.8 < float(jnp.abs(leaf).max()) * leaf.shape[0] ** 0.5 <= 1


@exact
@pytest.mark.parametrize(
    ("seed", "bias", "masked", "reduction", "only"),
    [
        (0, True, False, "mean", range(V)),
        (1, False, True, "none", range(V)),
        (2, True, True, "sum", [0, 1, 2, 10]),  # few in a cluster, none in others
        (3, True, False, "none", [8]),  # a cluster of one word, with all rows
        (4, True, True, "mean", [1, 2]),
    ],
)
def test_loss_and_gradients_are_those_of_all_logits(
    seed: int, bias: bool, masked: bool, reduction: Any, only: Any
) -> None:
    params, features, targets = drawn(seed, bias)
    targets = jnp.asarray(only)[targets % len(only)]
    rng = np.random.default_rng(seed)
    mask = jnp.asarray(rng.random(targets.shape) < 0.7) if masked else None
    factors = jnp.asarray(rng.normal(size=targets.shape if reduction == "none" else ()))
    options = {"mask": mask, "reduction": reduction}

    def both(loss: Any, features: Any, targets: Any) -> Any:
        def weighted(params: Any, features: Any) -> Any:
            return (factors * loss(params, features, targets, **options)).sum()

        return compiled(jax.value_and_grad(weighted, (0, 1)))(params, features)

    expected = both(of_all_logits, features, targets)
    if mask is not None:
        features = jnp.where(mask[..., None], features, jnp.nan)
        targets = jnp.where(mask, targets, -7)
    assert_close(both(SOFTMAX.loss, features, targets), expected, rtol=1e-12)
    values = SOFTMAX.loss(params, features, targets, **options)
    np.testing.assert_allclose((factors * values).sum(), expected[0], rtol=1e-12)


@exact
@pytest.mark.parametrize("steps", [0, 1])
def test_sequences_of_no_step_and_of_one(steps: int) -> None:
    params, features, targets = drawn(steps=steps)

    def gradients(loss: Any) -> Any:
        return compiled(jax.value_and_grad(loss, (0, 1)))(params, features, targets)

    assert_close(gradients(SOFTMAX.loss), gradients(of_all_logits), rtol=1e-12)


def test_a_cluster_takes_no_more_rows_than_it_needs() -> None:
    def length(first: Any, inside: Any) -> Any:
        return jnp.asarray(len(first))

    found = compiled(lambda inside: cluster._shortest(length, inside, ()))
    for number, rows in ((0, 4), (4, 4), (5, 16), (16, 16), (17, 64), (64, 64)):
        assert int(found(jnp.arange(64) < number)) == rows


@exact
def test_targets_outside_the_vocabulary() -> None:
    params, features, targets = drawn()
    for bad in (V, -1):
        unknown = targets.at[2, 3].set(bad)
        with pytest.raises(ValueError, match=f"target {bad} lies outside the vocabulary of {V}"):
            SOFTMAX.loss(params, features, unknown)

        def gradient(loss: Any, unknown: Any = unknown) -> Any:
            def summed(features: Any, unknown: Any) -> Any:
                return loss(params, features, unknown, reduction="none").sum()

            return compiled(jax.grad(summed))(features, unknown)

        losses = compiled(partial(SOFTMAX.loss, reduction="none"))(params, features, unknown)
        expected = compiled(partial(of_all_logits, reduction="none"))(params, features, unknown)
        assert bool(jnp.isnan(losses[2, 3])) and int(jnp.isnan(losses).sum()) == 1
        np.testing.assert_allclose(losses, expected, rtol=1e-12)
        found, wanted = gradient(SOFTMAX.loss), gradient(of_all_logits)
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)
    narrow = targets.astype(jnp.int8)
    same = SOFTMAX.loss(params, features, targets)
    np.testing.assert_allclose(SOFTMAX.loss(params, features, narrow), same, rtol=1e-12)


@exact
def test_derivatives_of_second_order_vmap_and_no_jit() -> None:
    small = r.adaptive_softmax([3], factor=2.0)
    params = small.init(jax.random.key(0), 4, 9, bias=True)
    params = jax.tree.map(lambda p: 1.0 + 2.0 * p.astype(float), params)
    features = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 4)))
    targets = jnp.array([[0, 4, 8, 2, 3]])

    def plain(params: Any, features: Any, targets: Any) -> Any:
        return r.cross_entropy(small.logits(params, features), targets)

    def twice(loss: Any) -> Any:
        def gradients(params: Any, features: Any) -> Any:
            return jax.grad(loss, (0, 1))(params, features, targets)

        def again(*given: Any) -> Any:
            return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(gradients(*given)))

        given = params, features
        return compiled(
            lambda *given: (jax.grad(again, (0, 1))(*given), jax.jvp(gradients, given, given))
        )(*given)

    assert_close(twice(small.loss), twice(plain), rtol=1e-10)
    several = jnp.stack([features, 2 * features]), jnp.stack([targets, targets[:, ::-1]])

    def over(loss: Any) -> Any:
        gradients = jax.vmap(jax.value_and_grad(loss), in_axes=(None, 0, 0))
        return compiled(gradients)(params, *several)

    assert_close(over(small.loss), over(plain), rtol=1e-12)
    expected = plain(params, features, targets)
    with jax.disable_jit():
        np.testing.assert_allclose(small.loss(params, features, targets), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="begin in reverse mode"):
        jax.jvp(lambda x: small.loss(params, x, targets), (features,), (features,))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_narrow_products_and_strict_dtypes(dtype: Any) -> None:
    with jax.numpy_dtype_promotion("strict"):
        params, features, targets = drawn(dtype=dtype)
        params["head"]["b"] = params["head"]["b"].astype(jnp.float32)  # as mixed_precision has it
        gradients = compiled(jax.value_and_grad(SOFTMAX.loss, (0, 1)))
        value, grads = gradients(params, features.astype(jnp.float32), targets.astype(jnp.uint8))
        logits = compiled(SOFTMAX.logits)(params, features)
    assert value.dtype == logits.dtype == jnp.float32
    for grad, leaf in zip(jax.tree.leaves(grads[0]), jax.tree.leaves(params), strict=True):
        assert grad.dtype == leaf.dtype
    assert grads[1].dtype == jnp.float32
    expected = r.cross_entropy(logits, targets)
    np.testing.assert_allclose(value, expected, rtol=1e-5 if dtype == jnp.float32 else 2**-6)


def of_torch(arrays: Any, prefix: str) -> Any:
    """PyTorch's weights in our layout."""
    head = {"w": arrays[f"{prefix}head.weight"].T, "b": arrays[f"{prefix}head.bias"]}
    tails = {
        str(i): {
            "down": arrays[f"{prefix}tail.{i}.0.weight"].T,
            "w": arrays[f"{prefix}tail.{i}.1.weight"].T,
        }
        for i in range(len(CUTOFFS))
    }
    return {"head": head, "tails": tails}


def assert_equal_to_pytorch(golden: Any) -> None:
    params = jax.tree.map(jnp.asarray, of_torch(golden, "weights/"))
    inputs, targets = jnp.asarray(golden["inputs"]), jnp.asarray(golden["targets"])
    assert_close(compiled(SOFTMAX.logits)(params, inputs), golden["log_prob"], rtol=1e-12)
    losses = compiled(partial(SOFTMAX.loss, reduction="none"))(params, inputs, targets)
    assert_close(-losses, golden["output"], rtol=1e-12)
    value, (dparams, dinputs) = compiled(jax.value_and_grad(SOFTMAX.loss, (0, 1)))(
        params, inputs, targets
    )
    assert_close(value, golden["loss"], rtol=1e-12)
    assert_close(dparams, of_torch(golden, "gradients/weights/"), rtol=1e-12)
    assert_close(dinputs, golden["gradients/inputs"], rtol=1e-12)
    assert set(golden["targets"]) == set(range(V))


@exact
def test_pytorch() -> None:
    with np.load(GOLDEN) as file:
        assert_equal_to_pytorch(dict(file))


@exact
def test_pytorch_itself() -> None:
    pytest.importorskip("torch")
    path = GOLDEN.with_name("make_golden.py")
    spec = importlib.util.spec_from_file_location("make_golden", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert_equal_to_pytorch(module.adaptive_softmax_arrays(seed=1))


@pytest.mark.parametrize(
    ("cutoffs", "options", "message"),
    [
        ([], {}, "cutoffs must be positive and increase"),
        ([0, 3], {}, "cutoffs must be positive and increase"),
        ([3, 3], {}, r"as \[2000, 10000\], not \[3, 3\]"),
        ([5, 3], {}, "cutoffs must be positive and increase"),
        ([2.5], {}, r"cutoffs must be integers in a list, as \[2000, 10000\], not \[2.5\]"),
        (7, {}, "cutoffs must be integers in a list"),
        ("ab", {}, "cutoffs must be integers in a list"),
        ([3], {"factor": 0.5}, "factor must be a number of at least 1"),
        ([3], {"factor": True}, "factor must be a number of at least 1"),
        ([3], {"factor": float("nan")}, "factor must be a number of at least 1"),
        ([3], {"factor": "4"}, "by which a cluster has fewer features"),
    ],
)
def test_bad_hyperparameters(cutoffs: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        r.adaptive_softmax(cutoffs, **options)


def test_bad_input() -> None:
    params, features, targets = drawn(dtype=jnp.float32)
    for limit in (9, 8):
        with pytest.raises(ValueError, match=f"do not fit a vocabulary of {limit}: the last must"):
            r.language_model(limit, r.recurrent(r.elman(3)), readout=SOFTMAX)
    with pytest.raises(ValueError, match="use the full softmax"):
        SOFTMAX.loss(params, features, targets, label_smoothing=0.1)
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\]"):
        SOFTMAX.loss(params, features, targets, label_smoothing=2.0)
    with pytest.raises(ValueError, match="reduction must be"):
        SOFTMAX.loss(params, features, targets, reduction="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="targets must have the features' shape"):
        SOFTMAX.loss(params, features, targets[1:])
    with pytest.raises(ValueError, match="integers, not float"):
        SOFTMAX.loss(params, features, features[..., 0])
    with pytest.raises(ValueError, match="the mask has shape"):
        SOFTMAX.loss(params, features, targets, mask=jnp.ones((1, 1), bool))
    with pytest.raises(ValueError, match="their last axis must be of 12"):
        SOFTMAX.loss(params, features[..., 1:], targets)
    with pytest.raises(ValueError, match="the parameters lack tails"):
        SOFTMAX.logits({"head": params["head"]}, features)
