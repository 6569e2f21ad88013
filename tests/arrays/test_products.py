"""Products with matrices of 16 bits."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_jax.arrays.products import affine, narrow_like, outer, product, widened

XS = jax.random.normal(jax.random.key(0), (5, 4, 3))
W = jax.random.normal(jax.random.key(1), (3, 2))
G = jax.random.normal(jax.random.key(2), (5, 4, 2))


def narrow(a: jax.Array) -> jax.Array:
    return a.astype(jnp.bfloat16)


def wide(a: jax.Array) -> jax.Array:
    return narrow(a).astype(jnp.float32)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("f", [product, affine])
def test_values_and_gradients_are_sums_of_rounded_factors(
    f: Any, dtype: Any, transposed: bool
) -> None:
    """Each is a float32 sum of products of bfloat16, and is rounded at most once, after the sum."""

    def multiplied(xs: Any, w: Any) -> Any:
        return f(xs, w.T, transposed=True) if transposed else f(xs, w)

    ys, pull = jax.vjp(multiplied, XS.astype(dtype), narrow(W))
    np.testing.assert_allclose(ys, wide(XS) @ wide(W), rtol=1e-5, atol=1e-6)
    dxs, dw = pull(G)
    assert ys.dtype == jnp.float32 and dxs.dtype == dtype and dw.dtype == jnp.bfloat16
    expected = wide(G) @ wide(W).T
    exact = dtype == jnp.float32
    np.testing.assert_allclose(
        dxs.astype(float), expected, rtol=1e-5 if exact else 2**-8, atol=1e-6
    )
    expected = jnp.einsum("tbd,tbg->dg", wide(XS), wide(G))
    np.testing.assert_allclose(dw.astype(float), expected, rtol=2**-8)


def test_the_way_back_multiplies_bfloat16() -> None:
    """JAX's own derivative would multiply float32 cotangents with widened matrices."""
    grad = jax.grad(lambda xs, w: (product(xs, w) ** 2).sum(), (0, 1))
    program = jax.jit(grad).lower(XS, narrow(W)).as_text()
    products = [line.split(" : ")[-1] for line in program.splitlines() if "dot_general" in line]
    assert len(products) == 3
    for types in products:
        assert types.count("bf16>") == 2 and types.count("f32>") == 1


@pytest.mark.parametrize("transposed", [False, True])
def test_no_factor_is_widened_on_a_cpu(transposed: bool) -> None:
    """XLA multiplies bfloat16 by itself only where it sees no transpose: twice as fast or more."""
    xs, w, g = (narrow(jnp.ones(shape)) for shape in ((64, 32), (32, 96), (64, 96)))

    def grads(xs: Any, w: Any, g: Any) -> Any:
        ys, pull = jax.vjp(partial(product, transposed=transposed), xs, w)
        return ys, pull(g.astype(jnp.float32))

    program = str(jax.jit(grads).lower(xs, w.T if transposed else w, g).compile().as_text())
    names = dict(re.findall(r"(%[\w.]+) = (\w+)\[", program))
    products = re.findall(r" dot\((%[\w.]+), (%[\w.]+)\)", program)
    assert len(products) == 3
    if jax.default_backend() == "cpu":
        assert {names[factor] for factors in products for factor in factors} == {"bf16"}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_gradient_of_a_matrix(dtype: Any) -> None:
    xs, ds = XS.reshape(-1, 3), G.reshape(-1, 2).astype(dtype)
    expected = xs.astype(dtype).astype(jnp.float32).T @ ds.astype(jnp.float32)
    np.testing.assert_allclose(outer(xs, ds), expected, rtol=1e-5, atol=1e-6)
    assert outer(xs[:0], ds[:0]).shape == (3, 2)
    (dxs, dds) = jax.grad(lambda xs, ds: (outer(xs, ds) ** 2).sum(), (0, 1))(xs, ds)
    terms = 2 * ds.astype(jnp.float32), outer(xs, ds).T
    # A factor of every term is rounded, to 8 bits at the least, and so is their sum.
    bound = (2**-8 if dtype != jnp.float32 else 1e-6) * (abs(terms[0]) @ abs(terms[1]))
    assert (abs(dxs - terms[0] @ terms[1]) <= bound).all()
    assert dds.dtype == dtype


def test_no_rows_and_more_axes() -> None:
    for xs in (XS[:0], XS[0, 0], XS):
        grads = jax.grad(lambda xs, w: product(xs, w).sum(), (0, 1))(xs, narrow(W))
        assert [g.shape for g in grads] == [xs.shape, W.shape]
    stacked = jax.vmap(product, (None, 0))(XS, narrow(jnp.stack([W, 2 * W])))
    np.testing.assert_allclose(stacked[1], 2 * product(XS, narrow(W)), rtol=1e-5)


def test_second_derivatives_in_reverse_mode_only() -> None:
    def slope(w: jax.Array) -> Any:
        return (jax.grad(lambda w: (product(XS, w) ** 2).sum())(w).astype(jnp.float32) ** 2).sum()

    def plain(w: jax.Array) -> Any:
        return (jax.grad(lambda w: ((wide(XS) @ w) ** 2).sum())(w) ** 2).sum()

    expected = jax.grad(plain)(wide(W))
    np.testing.assert_allclose(
        jax.grad(slope)(narrow(W)).astype(float), expected, atol=0.02 * float(abs(expected).max())
    )
    with pytest.raises(ValueError, match="reverse mode only: for jvp, jacfwd and linearize pass"):
        jax.jvp(lambda w: product(XS, w), (narrow(W),), (narrow(W),))
    jax.jvp(lambda w: product(XS, w), (W,), (W,))


def test_only_what_is_narrow_is_widened() -> None:
    params = {"w": narrow(W), "b": W[0], "n": jnp.arange(3), "key": jax.random.key(0)}
    wider = widened(params)
    assert wider["w"].dtype == jnp.float32
    assert all(wider[name] is params[name] for name in ("b", "n", "key"))
    assert jax.tree.map(lambda a: a.dtype, narrow_like(wider, params)) == jax.tree.map(
        lambda a: a.dtype, params
    )
