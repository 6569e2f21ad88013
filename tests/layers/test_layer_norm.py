"""Layer normalisation as a layer, beside NumPy; the laws of masks and steps are in tests/laws."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import rnn_jax as r

RNG = np.random.default_rng(0)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_by_hand(bias: bool) -> None:
    layer = r.layer_norm(bias=bias)
    params = layer.init(jax.random.key(0), 5)
    assert set(params) == ({"gain", "b"} if bias else {"gain"})
    params = jax.tree.map(lambda p: jnp.asarray(RNG.normal(size=p.shape)), params)
    xs, mask = 3 + RNG.normal(size=(4, 2, 5)), np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    live = mask[..., None]
    poisoned = jnp.asarray(np.where(live, xs, np.nan))

    def run(params: Any, xs: Any) -> Any:
        carry, ys = layer.apply(params, None, xs, mask=jnp.asarray(mask))
        assert carry == ()
        return ys

    mean, variance = xs.mean(-1, keepdims=True), xs.var(-1, keepdims=True)
    gain, b = np.asarray(params["gain"]), np.asarray(params.get("b", 0.0))
    by_hand = (xs - mean) / np.sqrt(variance + 1e-5) * gain + b
    np.testing.assert_allclose(run(params, poisoned), np.where(live, by_hand, 0), rtol=1e-12)
    gradients = jax.grad(lambda *args: run(*args).sum(), (0, 1))(params, poisoned)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert not np.any(np.where(live, 0, gradients[1]))
    check_grads(run, (params, jnp.asarray(xs)), 2, modes=["fwd", "rev"])


@pytest.mark.usefixtures("x64")
def test_as_pytorch_does() -> None:
    torch = pytest.importorskip("torch")
    xs = RNG.normal(size=(4, 2, 5))
    theirs = torch.nn.LayerNorm(5, dtype=torch.float64)(torch.from_numpy(xs)).detach().numpy()
    layer = r.layer_norm()
    _, ours = layer.apply(layer.init(jax.random.key(0), 5), None, jnp.asarray(xs))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_statistics_are_float32_beside_parameters_of_half_the_width() -> None:
    layer = r.layer_norm()
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), layer.init(jax.random.key(0), 64))
    xs = jnp.asarray(1000 + RNG.normal(size=(3, 2, 64)) * 8, jnp.bfloat16)
    _, ys = layer.apply(params, None, xs)
    exact = np.asarray(xs, float)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    assert ys.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(ys, float), exact, rtol=2**-8, atol=1e-3)


def test_a_step_of_equal_features_is_the_bias() -> None:
    params = {"gain": jnp.ones(3), "b": jnp.arange(3.0)}
    _, ys = r.layer_norm().apply(params, None, jnp.full((2, 1, 3), 7.0))
    np.testing.assert_array_equal(ys, np.broadcast_to(np.arange(3.0), (2, 1, 3)))


def test_bad_input_is_one_sentence() -> None:
    layer = r.layer_norm()
    params = layer.init(jax.random.key(0), 3)
    with pytest.raises(ValueError, match=r"not token ids \(int32\): put it above"):
        layer.apply(params, None, jnp.ones((4, 2), int))
    with pytest.raises(
        ValueError, match=r"gain of layer_norm has shape \(3,\), but the inputs have 5"
    ):
        layer.apply(params, None, jnp.ones((4, 2, 5)))
    with pytest.raises(ValueError, match=r"the b of layer_norm has shape \(2,\)"):
        layer.apply({**params, "b": jnp.ones(2)}, None, jnp.ones((4, 2, 3)))
    with pytest.raises(ValueError, match="the gain of layer_norm"):
        layer.apply({"gain": None}, None, jnp.ones((4, 2, 3)))
    with pytest.raises(ValueError, match="gain"):
        layer.apply({}, None, jnp.ones((4, 2, 3)))
    with pytest.raises(ValueError, match="mask"):
        layer.apply(params, None, jnp.ones((4, 2, 3)), mask=jnp.ones(4, bool))
    with pytest.raises(ValueError, match="input_size must be"):
        layer.init(jax.random.key(0), 0)
