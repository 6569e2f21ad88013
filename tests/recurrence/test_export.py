"""Every member lowers for CPU, CUDA and TPU, forwards and backwards; no device is needed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import export

import rnn_jax as r
from rnn_jax.jaxprs import portable
from tests.cases import CASES, CAUSAL, CELLS, KEY, SIZE, Case, carry_loss, outputs_loss

PLATFORMS = ("cpu", "cuda", "tpu")


def shapes(tree: Any) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_lower_for_every_platform(case: Case) -> None:
    params, xs = case.init(), case.inputs(3, (2,))
    carry, mask = case.carry((2,), params), r.length_mask(jnp.array([3, 1]), 3)

    def f(params: Any, carry: Any, xs: Any, mask: Any) -> Any:
        def loss(params: Any, carry: Any) -> Any:
            after, ys = case.member.apply(params, carry, xs, mask=mask, key=KEY)
            return outputs_loss(ys) + carry_loss(after), ys

        forward = case.member.apply(params, carry, xs)
        return forward, jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, carry)

    exported = export.export(jax.jit(f), platforms=PLATFORMS)(*shapes((params, carry, xs, mask)))
    assert exported.platforms == PLATFORMS


@pytest.mark.parametrize("name", ["lstm", "gru-after", "stack", "lm-embedding-dropout"])
def test_sliding_windows_lower_for_every_platform(name: str) -> None:
    (case,) = (case for case in CAUSAL if case.name == name)
    member = r.truncate(case.member, r.sliding(1))
    params, xs = case.init(), case.inputs(4, (2,))

    def f(params: Any, xs: Any) -> Any:
        return jax.grad(lambda p: outputs_loss(member.apply(p, None, xs, key=KEY)[1]))(params)

    exported = export.export(jax.jit(f), platforms=PLATFORMS)(*shapes((params, xs)))
    assert exported.platforms == PLATFORMS


@pytest.mark.parametrize("shape", ["T, B", "5, 2*B"])
@pytest.mark.parametrize("name", CELLS)
def test_forward_lowers_for_any_length_and_batch(name: str, shape: str) -> None:
    forward_lowers(r.recurrent(CELLS[name]), shape)


def test_layers_of_any_length() -> None:
    forward_lowers(r.remat(r.recurrent(r.gru(3))), "T, B")
    forward_lowers(r.truncate(r.recurrent(r.gru(3)), r.full()), "T, B")
    with pytest.raises(ValueError, match="must know T"):
        forward_lowers(r.truncate(r.recurrent(r.gru(3)), r.sliding(2)), "T, B")


def forward_lowers(layer: Any, shape: str) -> None:
    params = layer.init(KEY, SIZE)
    T, B = export.symbolic_shape(shape)
    carry = jax.tree.map(
        lambda c: jax.ShapeDtypeStruct((B, *c.shape), c.dtype), layer.initial_carry(())
    )
    xs = jax.ShapeDtypeStruct((T, B, SIZE), jnp.float32)
    exported = export.export(jax.jit(layer.apply), platforms=PLATFORMS)(shapes(params), carry, xs)
    assert exported.out_avals[-1].shape[:2] == (T, B)


def test_a_program_that_is_portable_asks_for_no_layouts() -> None:
    """`jax.export` refuses layouts that a program asks for, as large matrices do on a CPU."""
    cell, xs = r.lstm(900), jax.ShapeDtypeStruct((16, 2, 3), jnp.float32)
    params = jax.eval_shape(lambda: cell.init(KEY, 3))

    def lowered() -> str:
        forward = jax.jit(lambda params, xs: r.unroll(cell, params, None, xs)[1])
        return forward.lower(params, xs).as_text()

    if jax.default_backend() == "cpu":
        assert "LayoutConstraint" in lowered()
    with portable():
        assert "LayoutConstraint" not in lowered()
