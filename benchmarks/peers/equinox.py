"""Equinox: its cells under `lax.scan`, as its documentation shows, mapped over the batch."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.measuring.implementation import UNROLLED, JaxImplementation, Unavailable
from benchmarks.measuring.workloads import Arrays, Recurrence

__all__ = ["NOTE", "PACKAGES", "build"]

PACKAGES = ("equinox", "jax", "jaxlib")
# What is not the same work, or chosen for it; for the page.
NOTE = (
    "has cells and no layer: `lax.scan` over the cell, mapped over the batch by `jax.vmap`, as "
    "its documentation does it, time-major, so that nothing is transposed. `eqx.filter_jit` would "
    "compile the same program. The scan takes one step an iteration or four, whichever is faster "
    "(one in rows without `unroll`). It has no simple recurrent cell."
)


def build(name: str, workload: Recurrence, arrays: Arrays) -> JaxImplementation:
    """`eqx.nn.GRUCell`, `eqx.nn.LSTMCell`."""
    import equinox as eqx

    if workload.cell in ("rnn", "relu"):
        raise Unavailable("Equinox has no cell of a simple recurrent network")
    kind = eqx.nn.GRUCell if workload.cell == "gru" else eqx.nn.LSTMCell
    values = {
        "weight_ih": arrays["w_ih"].T,
        "weight_hh": arrays["w_hh"].T,
        "bias": arrays["b"],
    } | ({"bias_n": arrays["b_hn"]} if workload.cell == "gru" else {})
    names = tuple(values)
    cell = eqx.tree_at(
        lambda cell: [getattr(cell, name) for name in names],
        kind(workload.features, workload.hidden, key=jax.random.key(0)),
        [jnp.asarray(value) for value in values.values()],
    )

    def sequence(steps: int, cell: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            carry = cell(x, carry)
            return carry, carry[0] if workload.cell == "lstm" else carry

        zeros = jnp.zeros(workload.hidden, xs.dtype)
        carry = (zeros, zeros) if workload.cell == "lstm" else zeros
        return lax.scan(step, carry, xs, unroll=steps)[1]

    def unrolled(steps: int) -> Any:
        # Over the middle axis: time-major, as the scan wants it, so that nothing is transposed.
        return jax.vmap(partial(sequence, steps), in_axes=(None, 1), out_axes=1)

    def to_workload(cell: Any) -> dict[str, Any]:
        named = {"w_ih": cell.weight_ih.T, "w_hh": cell.weight_hh.T, "b": cell.bias}
        return named | ({"b_hn": cell.bias_n} if workload.cell == "gru" else {})

    equations = "gru reset after" if workload.cell == "gru" else "lstm"
    return JaxImplementation(
        equations,
        unrolled(1),
        cell,
        to_workload,
        arrays,
        unrolled={steps: unrolled(steps) for steps in UNROLLED},
    )
