"""Every kernel of the laws lowers for cuda on a machine without a GPU: there and back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import rnn_jax as r
from rnn_jax.recurrence import Kernel
from tests.recurrence.gpu.cells import NARROW, TRIES, Try, first_of

LARGE = (  # (cell, T, B, dtype)
    (r.elman(100), 45, 1, jnp.float32),
    (r.lstm(128), 35, 32, jnp.bfloat16),
    (r.gru(128), 35, 600, jnp.float32),
    (r.elman(256), 35, 32, jnp.float32),
    (r.elman(384), 35, 32, jnp.bfloat16),
)


def kernels_in(function: Any, *arguments: Any) -> int:
    """How many kernels the program for cuda launches."""
    traced = jax.jit(function, static_argnums=0).trace(*arguments)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    return text.count("custom_call @mosaic_gpu")


@pytest.mark.parametrize("tried", [*TRIES, *NARROW], ids=str)
def test_kernels_of_the_laws(tried: Try) -> None:
    how = (tried.name, tried.reverse, tried.every, tried.kernel)
    assert kernels_in(first_of, how, *tried.arguments()) == 2


@pytest.mark.parametrize(
    "given", LARGE, ids=lambda given: f"{type(given[0]).__name__}-{given[0].hidden_size}"
)
def test_kernels_of_real_sizes(given: Any) -> None:
    cell, T, B, dtype = given
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))
    params = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, dtype), params)
    xs = jax.ShapeDtypeStruct((T, B, 3), dtype)

    def gradient(backend: Any, params: Any, xs: Any) -> Any:
        def loss(params: Any) -> Any:
            return r.unroll(cell, params, None, xs, backend=backend)[1].astype(jnp.float32).sum()

        return jax.grad(loss)(params)

    assert kernels_in(gradient, "pallas", params, xs) == 2


def test_exported_for_a_gpu_elsewhere() -> None:
    cell = r.elman(4)
    params = cell.init(jax.random.key(0), 3)

    def values(params: Any, xs: Any) -> Any:
        return r.unroll(cell, params, None, xs, backend="pallas")[1]

    checks = [jax.export.DisabledSafetyCheck.custom_call("mosaic_gpu_v2")]
    export = jax.export.export(jax.jit(values), platforms=["cuda"], disabled_checks=checks)
    assert export(params, jnp.ones((5, 2, 3))).platforms == ("cuda",)


def test_a_kernel_that_is_mapped_lowers() -> None:
    cell = r.elman(4)
    params = jax.vmap(lambda key: cell.init(key, 3))(jax.random.split(jax.random.key(0), 2))

    def values(backend: Any, params: Any, xs: Any) -> Any:
        run = jax.vmap(lambda p: r.unroll(cell, p, None, xs, backend=backend)[1])
        return run(params)

    assert kernels_in(values, Kernel(), params, jnp.ones((5, 2, 3))) == 1
