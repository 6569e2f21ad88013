"""Flax linen: `nn.RNN` over its cells, time-major; the LSTM has a plain and an optimised one."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.measuring.implementation import UNROLLED, JaxImplementation, Unavailable
from benchmarks.measuring.workloads import Arrays, Recurrence

__all__ = ["NOTE", "PACKAGES", "build"]

PACKAGES = ("flax", "jax", "jaxlib")
# What is not the same work, or chosen for it; for the page.
NOTE = (
    "multiplies the input of each step inside its loop, by one matrix a gate, which its optimised "
    "LSTM joins; there is no optimised GRU. `nn.RNN` is time-major here, so that nothing is "
    "transposed, and takes one step an iteration or four, whichever is faster (one "
    "in rows without `unroll`)."
)

# One matrix a gate, named in the order of the workload's columns; which of the two has the bias.
_GATES = {"rnn": [""], "relu": [""], "gru": ["r", "z", "n"], "lstm": ["i", "f", "g", "o"]}
_BIAS = {"rnn": "i", "relu": "i", "gru": "i", "lstm": "h"}


def build(name: str, workload: Recurrence, arrays: Arrays) -> JaxImplementation:
    """`nn.RNN(cell, time_major=True)`."""
    from flax import linen

    if name == "flax-linen-optimized" and workload.cell != "lstm":
        raise Unavailable("Flax has an optimised cell for the LSTM only")
    lstm = linen.OptimizedLSTMCell if name == "flax-linen-optimized" else linen.LSTMCell
    kind, equations = {
        "rnn": (linen.SimpleCell, "rnn tanh"),
        "relu": (partial(linen.SimpleCell, activation_fn=linen.relu), "rnn relu"),
        "gru": (linen.GRUCell, "gru reset after"),
        "lstm": (lstm, "lstm"),
    }[workload.cell]
    dtype = jnp.dtype(workload.dtype)
    parts = kind(workload.hidden, dtype=dtype, param_dtype=dtype)
    gates, biased = _GATES[workload.cell], _BIAS[workload.cell]
    blocks = {key: np.split(arrays[key], len(gates), axis=-1) for key in ("w_ih", "w_hh", "b")}
    cell: dict[str, dict[str, np.ndarray]] = {}
    for index, gate in enumerate(gates):
        cell[f"i{gate}"] = {"kernel": blocks["w_ih"][index]}
        cell[f"h{gate}"] = {"kernel": blocks["w_hh"][index]}
        cell[f"{biased}{gate}"]["bias"] = blocks["b"][index]
    if "b_hn" in arrays:
        cell["hn"]["bias"] = arrays["b_hn"]

    def to_workload(tree: Any) -> dict[str, Any]:
        def joined(side: str, leaf: str) -> Any:
            return jnp.concatenate([tree["cell"][f"{side}{gate}"][leaf] for gate in gates], axis=-1)

        named = {
            "w_ih": joined("i", "kernel"),
            "w_hh": joined("h", "kernel"),
            "b": joined(biased, "bias"),
        }
        return named | ({"b_hn": tree["cell"]["hn"]["bias"]} if "b_hn" in arrays else {})

    def unrolled(steps: int) -> Any:
        layer = linen.RNN(parts, time_major=True, unroll=steps)
        return lambda params, xs: layer.apply({"params": params}, xs)

    return JaxImplementation(
        equations,
        unrolled(1),
        {"cell": cell},
        to_workload,
        arrays,
        unrolled={steps: unrolled(steps) for steps in UNROLLED},
    )
