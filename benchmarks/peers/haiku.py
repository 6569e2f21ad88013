"""Haiku: `hk.dynamic_unroll` over its cores. Its RNN is a ReLU's, its GRU resets before."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measuring.implementation import UNROLLED, JaxImplementation
from benchmarks.measuring.workloads import Arrays, Recurrence

__all__ = ["NOTE", "PACKAGES", "build"]

PACKAGES = ("dm-haiku", "jax", "jaxlib")
# What is not the same work, or chosen for it; for the page.
NOTE = (
    "has an RNN with a ReLU and a GRU that resets before the product, which are other equations "
    "than ours. Its LSTM multiplies input and state by one matrix in each step; "
    "`hk.dynamic_unroll` is time-major and takes one step an iteration or four, whichever is "
    "faster (one in rows without `unroll`)."
)


def build(name: str, workload: Recurrence, arrays: Arrays) -> JaxImplementation:
    """`hk.VanillaRNN` with one bias, `hk.GRU`, `hk.LSTM`, time-major, transformed without a key."""
    import haiku as hk

    def sequence(xs: Any, steps: int = 1) -> Any:
        if workload.cell in ("rnn", "relu"):
            core = hk.VanillaRNN(workload.hidden, double_bias=False, name="core")
        else:
            kind = hk.GRU if workload.cell == "gru" else hk.LSTM
            core = kind(workload.hidden, name="core")
        # Its states are float32 whatever its weights are.
        state = jax.tree.map(lambda c: c.astype(xs.dtype), core.initial_state(xs.shape[1]))
        return hk.dynamic_unroll(core, xs, state, unroll=steps)[0]

    def unrolled(steps: int) -> Any:
        return hk.without_apply_rng(hk.transform(partial(sequence, steps=steps))).apply

    layout = {"rnn": _rnn, "relu": _rnn, "gru": _gru, "lstm": _lstm}[workload.cell]
    equations, params, to_workload = layout(arrays)
    return JaxImplementation(
        equations,
        unrolled(1),
        params,
        to_workload,
        arrays,
        unrolled={steps: unrolled(steps) for steps in UNROLLED},
    )


def _rnn(arrays: Arrays) -> tuple[str, Any, Any]:
    params = {
        "core/linear": {"w": arrays["w_ih"], "b": arrays["b"]},
        "core/linear_1": {"w": arrays["w_hh"]},
    }

    def to_workload(tree: Any) -> dict[str, Any]:
        first, second = tree["core/linear"], tree["core/linear_1"]
        return {"w_ih": first["w"], "w_hh": second["w"], "b": first["b"]}

    return "rnn relu", params, to_workload


def _gru(arrays: Arrays) -> tuple[str, Any, Any]:
    """Gates z, r, a; its z weighs the new state, so that ours is its 1 - z: the sign turns."""

    def exchange(array: Any) -> Any:
        first, second, new = jnp.split(jnp.asarray(array), 3, axis=-1)
        return first, second, new

    def ours_to_theirs(array: Any) -> Any:
        r, z, n = exchange(array)
        return np.asarray(jnp.concatenate([-z, r, n], axis=-1))

    def theirs_to_ours(array: Any) -> Any:
        z, r, a = exchange(array)
        return jnp.concatenate([r, -z, a], axis=-1)

    names = {"w_i": "w_ih", "w_h": "w_hh", "b": "b"}
    params = {"core": {theirs: ours_to_theirs(arrays[ours]) for theirs, ours in names.items()}}

    def to_workload(tree: Any) -> dict[str, Any]:
        return {ours: theirs_to_ours(tree["core"][theirs]) for theirs, ours in names.items()}

    return "gru reset before", params, to_workload


def _lstm(arrays: Arrays) -> tuple[str, Any, Any]:
    """One matrix for inputs above states; gates i, g, f, o, and 1 is added to f."""
    features = arrays["w_ih"].shape[0]

    def swap(array: Any) -> Any:
        i, second, third, o = jnp.split(jnp.asarray(array), 4, axis=-1)
        return jnp.concatenate([i, third, second, o], axis=-1)

    size = arrays["w_hh"].shape[0]
    offset = np.repeat(np.array([0, 1, 0, 0], arrays["b"].dtype), size)
    both = np.concatenate([arrays["w_ih"], arrays["w_hh"]])
    linear = {"w": np.asarray(swap(both)), "b": np.asarray(swap(arrays["b"] - offset))}

    def to_workload(tree: Any) -> dict[str, Any]:
        w, b = swap(tree["core/linear"]["w"]), swap(tree["core/linear"]["b"])
        return {"w_ih": w[:features], "w_hh": w[features:], "b": b}

    return "lstm", {"core/linear": linear}, to_workload
