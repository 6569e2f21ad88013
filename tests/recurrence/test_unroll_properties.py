"""`unroll` against a loop over single steps, for any mask, resets and scale, lengths 0 to 4."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import rnn_jax as r
from tests.cases import CELLS, KEY, SIZE, assert_close, carry_loss, outputs_loss, quick_jit


def loop(
    cell: Any,
    params: Any,
    carry: Any,
    xs: Any,
    mask: Any,
    gradient_scale: Any,
    resets: Any,
    reverse: bool,
) -> Any:
    """The definition, word for word."""
    zs = cell.project(params, xs)
    T, B = xs.shape[:2]
    ys = jnp.zeros((T, B, cell.output_size))
    marks = jnp.concatenate([resets, jnp.zeros((1, B), bool)])
    initial = cell.initial_carry((B,), params)
    factor, reset = jnp.ones(B), jnp.zeros(B, bool)
    for t in reversed(range(T)) if reverse else range(T):
        # What falls on a masked step waits for the next valid one.
        factor = factor * gradient_scale[t]
        # In reverse the boundary before step t + 1 is met on the way from it to step t.
        reset = reset | marks[t + reverse]
        before = jax.lax.stop_gradient(carry) * (1 - factor)[:, None] + factor[:, None] * carry
        before = jnp.where(reset[:, None], initial, before)
        new, y = cell.step(params, before, zs[t])
        valid = mask[t]
        carry = jnp.where(valid[:, None], new, carry)
        ys = ys.at[t].set(jnp.where(valid[:, None], y, 0))
        factor, reset = jnp.where(valid, 1, factor), reset & ~valid
    return carry, ys


@quick_jit
def outcome(how: Any, params: Any, carry: Any, xs: Any, steps: Any) -> Any:
    name, fast, reverse = how
    cell = CELLS[name]

    def loss(params: Any, carry: Any, xs: Any) -> Any:
        if fast:
            after, ys = r.unroll(cell, params, carry, xs, reverse=reverse, **steps)
        else:
            after, ys = loop(cell, params, carry, xs, **steps, reverse=reverse)
        return outputs_loss(ys) + carry_loss(after), (after, ys)

    return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, carry, xs)


@settings(max_examples=15)
@given(
    name=st.sampled_from(["gru-after", "min-lstm"]),
    shape=st.sampled_from([(0, 2), (1, 1), (4, 3)]),
    reverse=st.booleans(),
    data=st.data(),
)
def test_any_mask_resets_and_gate(
    name: str, shape: tuple[int, int], reverse: bool, data: st.DataObject
) -> None:
    factors = st.sampled_from([0.0, 1.0, 0.5, 3.0])
    steps = {
        "mask": data.draw(hnp.arrays(bool, shape), label="mask"),
        "resets": data.draw(hnp.arrays(bool, shape), label="resets"),
        "gradient_scale": data.draw(hnp.arrays(float, shape, elements=factors), label="scale"),
    }
    with jax.enable_x64(True):
        cell = CELLS[name]
        params = jax.tree.map(lambda p: p.astype(float), cell.init(KEY, SIZE))
        rng = np.random.default_rng(0)
        xs = rng.standard_normal((*shape, SIZE))
        carry = rng.standard_normal((shape[1], cell.output_size))
        fast, slow = (outcome((name, f, reverse), params, carry, xs, steps) for f in (True, False))
        assert_close(fast, slow)
