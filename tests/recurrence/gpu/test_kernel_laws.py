"""The kernel, by JAX's interpreter, against the plain scan: values and every gradient.

Both compute in float32, and the scan's products add up in another order. An entry of up to 130
terms is off by some 1e-6 of its size, and seven steps with weights near one multiply that by a few:
3e-5 of a leaf's largest entry. In bfloat16 cotangents are rounded to 8 bits before each product,
of numbers that float32 has off by one bit at times: 2e-2, as two roundings of 2⁻⁸ and their sums.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import rnn_jax as r
from rnn_jax.recurrence import Kernel
from tests.cases import assert_close, quick_jit
from tests.recurrence.gpu.cells import CELLS, NARROW, TRIES, Try


@pytest.mark.parametrize("tried", TRIES, ids=str)
def test_as_the_plain_scan(tried: Try) -> None:
    assert_close(tried.interpreted(), tried.by("scan"), rtol=3e-5)


@pytest.mark.parametrize("tried", NARROW, ids=str)
def test_as_the_plain_scan_in_bfloat16(tried: Try) -> None:
    ours, plain = (
        jax.tree.map(lambda leaf: leaf.astype("float32"), found)
        for found in (tried.interpreted(), tried.by("scan"))
    )
    assert_close(ours, plain, rtol=2e-2)


def test_no_gradient_where_none_is_asked_for() -> None:
    tried = Try("lstm-learned", 3, (3,), all=True)
    params, carry, xs, beside = tried.arguments()

    def values(backend: Any, params: Any, carry: Any, xs: Any, beside: Any) -> Any:
        return r.unroll(CELLS[tried.name], params, carry, xs, backend=backend, **beside)

    run = quick_jit(values)
    ours, plain = (
        run(backend, params, carry, xs, beside) for backend in (Kernel(interpret=True), "scan")
    )
    assert_close(ours, plain, rtol=3e-5)


@pytest.mark.parametrize(
    "tried", [Try("mixed", 6, (3,), all=True), Try("gru-after", 4, ())], ids=str
)
def test_sliding_windows_from_what_the_kernel_saves(tried: Try) -> None:
    params, carry, xs, beside = tried.arguments()

    def gradient(backend: Any, params: Any, carry: Any, xs: Any, beside: Any) -> Any:
        layer = r.truncate(r.recurrent(CELLS[tried.name], backend=backend), r.sliding(2))
        along = {name: beside[name] for name in ("mask", "resets") if name in beside}

        def loss(params: Any, carry: Any, xs: Any) -> Any:
            return (layer.apply(params, carry, xs, **along)[1] ** 2).sum()

        return jax.value_and_grad(loss, argnums=(0, 1, 2))(params, carry, xs)

    run = quick_jit(gradient)
    ours, plain = (
        run(backend, params, carry, xs, beside) for backend in (Kernel(interpret=True), "scan")
    )
    assert_close(ours, plain, rtol=3e-5)


def test_mapped_over_models() -> None:
    tried = Try("gru-after", 2, (3,))
    params, carry, xs, _ = tried.arguments()
    both = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), params)

    def gradient(backend: Any, both: Any, carry: Any, xs: Any) -> Any:
        def loss(params: Any) -> Any:
            ys = r.unroll(CELLS[tried.name], params, carry, xs, backend=backend)[1]
            return (ys**2).sum()

        return jax.vmap(jax.value_and_grad(loss))(both)

    run = quick_jit(gradient)
    ours, plain = (run(backend, both, carry, xs) for backend in (Kernel(interpret=True), "scan"))
    assert_close(ours, plain, rtol=3e-5)


def test_second_derivatives_are_refused() -> None:
    tried = Try("elman-tanh", 2, (1,))
    params, carry, xs, _ = tried.arguments()

    def loss(xs: Any) -> Any:
        kernel = Kernel(interpret=True)
        return r.unroll(CELLS[tried.name], params, carry, xs, backend=kernel)[1].sum()

    with pytest.raises(ValueError, match=r"backend='pallas' has first derivatives only.*'auto'"):
        jax.jit(jax.grad(lambda xs: jax.grad(loss)(xs).sum())).trace(xs)
