"""Keras 3 on its JAX backend: the layers through `stateless_call`, batch-major, jitted."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.measuring.implementation import JaxImplementation, Unavailable
from benchmarks.measuring.workloads import Arrays, Recurrence

__all__ = ["NOTE", "PACKAGES", "build"]

PACKAGES = ("keras", "jax", "jaxlib")
# What is not the same work, or chosen for it; for the page.
NOTE = (
    "is batch-major, and what it is given is: the transposes inside its layers are in its time. "
    "Its GRU multiplies the inputs of all steps before the loop, its other layers those of each "
    "step inside. Its GRU has a second bias on each gate, which is zero. Its `unroll` writes all "
    "steps out, which compiles for minutes, and is left off. On a GPU its LSTM may choose cuDNN."
)


def build(name: str, workload: Recurrence, arrays: Arrays) -> JaxImplementation:
    """`keras.layers.SimpleRNN`, `GRU` (reset after, its default) and `LSTM`."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    if keras.backend.backend() != "jax":
        raise Unavailable(f"Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=jax")
    kind, equations = {
        "rnn": (keras.layers.SimpleRNN, "rnn tanh"),
        "relu": (partial(keras.layers.SimpleRNN, activation="relu"), "rnn relu"),
        "gru": (keras.layers.GRU, "gru reset after, two biases"),
        "lstm": (keras.layers.LSTM, "lstm"),
    }[workload.cell]
    # What is drawn is replaced. The default, an orthogonal matrix, does not exist in bfloat16.
    layer = kind(
        workload.hidden,
        return_sequences=True,
        dtype=workload.dtype,
        recurrent_initializer="zeros",
    )
    layer.build((workload.batch, workload.length, workload.features))
    others = [variable.value for variable in layer.non_trainable_variables]

    def swap(array: Any) -> Any:
        """The GRU's r, z, n from and to Keras' z, r, n; other gates are in the same order."""
        if workload.cell != "gru":
            return array
        first, second, new = jnp.split(jnp.asarray(array), 3, axis=-1)
        return jnp.concatenate([second, first, new], axis=-1)

    b = swap(arrays["b"])
    size = workload.hidden
    if workload.cell == "gru":
        b = jnp.stack([b, jnp.asarray(np.pad(arrays["b_hn"], (2 * size, 0)))])
    params = [swap(arrays["w_ih"]), swap(arrays["w_hh"]), b]

    def apply(params: Any, xs: Any) -> Any:
        return layer.stateless_call(params, others, xs)[0]

    def to_workload(tree: Any) -> dict[str, Any]:
        w_ih, w_hh, b = tree
        named = {"w_ih": swap(w_ih), "w_hh": swap(w_hh)}
        if workload.cell != "gru":
            return named | {"b": b}
        return named | {"b": swap(b[0]), "b_hn": b[1, 2 * size :]}

    return JaxImplementation(equations, apply, params, to_workload, arrays, batch_major=True)
