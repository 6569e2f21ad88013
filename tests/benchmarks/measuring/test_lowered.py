"""What a TPU is given: read from programs that are exported for one, without one."""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import export

import rnn_jax
from benchmarks.measuring.lowered import Product, loops, products

T, B, D, H = 6, 4, 3, 5


def exported(layer: rnn_jax.Layer, dtype: Any = jnp.float32, precision: str | None = None) -> str:
    """The loss of a layer and its gradient, for a TPU."""
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), D))
    params = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, dtype), shapes)

    def loss(params: Any, xs: jax.Array) -> jax.Array:
        return layer.apply(params, None, xs)[1].astype(jnp.float32).sum()

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    chosen = jax.default_matmul_precision(precision) if precision else contextlib.nullcontext()
    with chosen:
        xs = jax.ShapeDtypeStruct((T, B, D), dtype)
        return export.export(both, platforms=["tpu"])(params, xs).mlir_module()


@pytest.mark.parametrize("cell, gates", [("elman", 1), ("gru", 3), ("lstm", 4)])
def test_a_loop_has_one_product_and_all_others_are_of_all_steps(cell: str, gates: int) -> None:
    text = exported(rnn_jax.recurrent(getattr(rnn_jax, cell)(H)))
    columns, rows = gates * H, T * B
    assert loops(text) == 2  # there and back
    inside = [product for product in products(text) if product.in_loop]
    assert [(p.left, p.right) for p in inside] == [
        (f"{B}x{H}xf32", f"{H}x{columns}xf32"),
        (f"{B}x{columns}xf32", f"{H}x{columns}xf32"),
    ]
    outside = {p.result for p in products(text) if not p.in_loop}
    assert outside == {
        f"{rows}x{columns}xf32",  # inputs
        f"{H}x{columns}xf32",  # gradient of the recurrent matrix
        f"{columns}x{D}xf32",  # of the input matrix
        f"{rows}x{D}xf32",  # of the inputs
    }


def test_products_have_the_precision_that_is_set_and_16_bits_are_summed_in_float32() -> None:
    layer = rnn_jax.recurrent(rnn_jax.lstm(H))
    assert {p.precision for p in products(exported(layer))} == {"DEFAULT"}
    highest = products(exported(layer, precision="highest"))
    assert {p.precision for p in highest} == {"HIGHEST"}
    half = products(exported(layer, jnp.bfloat16))
    assert len(half) == 6
    for product in half:
        assert product.left.endswith("xbf16") and product.right.endswith("xbf16")
        assert product.result.endswith("xf32")


def test_windows_have_no_loop_backwards_and_a_plain_scan_sums_the_matrix_in_its_loop() -> None:
    text = exported(rnn_jax.truncate(rnn_jax.recurrent(rnn_jax.lstm(H)), rnn_jax.sliding(2)))
    assert loops(text) == 1
    assert [p.left for p in products(text) if p.in_loop] == [f"{B}x{H}xf32"]
    plain = products(exported(rnn_jax.recurrent(rnn_jax.lstm(H), backend="scan")))
    assert f"{4 * H}x{H}xf32" in {p.result for p in plain if p.in_loop}


def test_a_product_that_a_function_in_a_loop_calls_is_in_the_loop() -> None:
    @jax.jit
    def inner(x: jax.Array) -> jax.Array:
        return jnp.dot(x, x, precision="high")

    def loop(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 3, lambda _, x: jnp.sin(inner(x)), x) @ x

    text = jax.jit(loop).lower(jnp.ones((2, 2))).as_text()
    size = "2x2xf32"
    assert sorted(products(text), key=lambda p: p.in_loop) == [
        Product(size, size, size, "DEFAULT", False), Product(size, size, size, "HIGH", True),
    ]  # fmt: skip
