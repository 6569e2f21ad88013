"""The linear layer beside NumPy; the laws of masks, steps and dtypes are in tests/laws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r

RNG = np.random.default_rng(0)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_by_hand(bias: bool) -> None:
    layer = r.linear(3, bias=bias)
    params = jax.tree.map(
        lambda p: jnp.asarray(RNG.normal(size=p.shape)), layer.init(jax.random.key(0), 5)
    )
    assert set(params) == ({"w", "b"} if bias else {"w"})
    xs, mask = RNG.normal(size=(4, 2, 5)), np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    weights = RNG.normal(size=(4, 2, 3))
    w, b = np.asarray(params["w"]), np.asarray(params.get("b", np.zeros(3)))
    poisoned = jnp.asarray(np.where(mask[..., None], xs, np.nan))

    def loss(params: r.types.Params, xs: jax.Array) -> tuple[jax.Array, jax.Array]:
        carry, ys = layer.apply(params, None, xs, mask=jnp.asarray(mask))
        assert carry == ()
        return (ys * weights).sum(), ys

    (dparams, dxs), ys = jax.grad(loss, (0, 1), has_aux=True)(params, poisoned)
    live = np.where(mask[..., None], weights, 0)
    np.testing.assert_allclose(ys, np.where(mask[..., None], xs @ w + b, 0), rtol=1e-12)
    np.testing.assert_allclose(dxs, live @ w.T, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(dparams["w"], np.einsum("tbd,tbo->do", xs, live), rtol=1e-12)
    if bias:
        np.testing.assert_allclose(dparams["b"], live.sum((0, 1)), rtol=1e-12)


def test_ids_are_one_hot_vectors() -> None:
    layer = r.linear(3)
    params = layer.init(jax.random.key(0), 5)
    ids = jnp.array([[3, 1], [4, 0]], jnp.int8)
    _, rows = layer.apply(params, None, ids)
    np.testing.assert_array_equal(rows, layer.apply(params, None, jnp.eye(5)[ids])[1])
    with pytest.raises(ValueError, match="token id 5 lies outside the vocabulary of 5"):
        layer.apply(params, None, jnp.array([5]))
    assert np.isnan(jax.jit(layer.apply)(params, None, jnp.array([-1]))[1]).all()
    _, ys = layer.apply(params, None, jnp.array([1, 9]), mask=jnp.array([True, False]))
    assert not np.any(ys[1]) and np.isfinite(ys).all()


def test_it_stands_wherever_a_layer_goes() -> None:
    """Around a recurrence, in both directions, under every wrapper; no row-sparse step is lost."""
    layer = r.serial(
        r.linear(4),
        r.residual(r.linear(4)),
        r.remat(r.serial(r.recurrent(r.gru(4)), r.linear(6))),
        r.bidirectional(r.linear(3), r.recurrent(r.gru(3), reverse=True), merge="sum"),
        r.linear(2),
    )
    params = layer.init(jax.random.key(0), 9)
    carry, ys = layer.apply(params, None, jnp.zeros((7, 3), int))
    assert ys.shape == (7, 3, 2) and layer.input_table == ("0", "w")
    assert len(jax.tree.leaves(carry)) == 2
    model = r.sequence_classifier(2, layer, input_size=9)
    assert model.apply(model.init(jax.random.key(1)), None, jnp.zeros((7, 3), int))[1].shape == (
        3,
        2,
    )


def test_the_read_out_of_ridge_is_a_linear_layers() -> None:
    xs = jax.random.normal(jax.random.key(0), (50, 2, 3))
    targets = xs @ jnp.ones((3, 2)) + 1
    fitted = r.ridge(xs, targets, penalty=0.0)
    _, ys = r.linear(2).apply(fitted, None, xs)
    np.testing.assert_allclose(ys, targets, atol=1e-4)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="size must be an integer of at least 1, not 0"):
        r.linear(0)
    with pytest.raises(ValueError, match="input_size must be an integer"):
        r.linear(2).init(jax.random.key(0), 0)
    params = r.linear(2).init(jax.random.key(0), 3)
    with pytest.raises(ValueError, match="do not fit parameters made for 3 features"):
        r.linear(2).apply(params, None, jnp.ones((4, 2, 5)))
    with pytest.raises(ValueError, match="the mask has shape"):
        r.linear(2).apply(params, None, jnp.ones((4, 2, 3)), mask=jnp.ones(4, bool))
    with pytest.raises(ValueError, match=r"features of shape .* must be floating"):
        r.linear(2).apply(params, None, jnp.full((4, 2, 3), 7))
