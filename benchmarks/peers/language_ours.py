"""rnn_jax: a language model, its training step and generation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnn_jax
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.ours import CELLS
from rnn_jax.recurrence.unroll import Backend

__all__ = ["model_of", "optimizer_of", "params_of", "to_workload", "train_step"]


def model_of(workload: Language, backend: Backend = "auto") -> Any:
    """`language_model` over one layer or a stack, truncated."""
    cell, _ = CELLS[workload.cell]
    layers = [
        rnn_jax.recurrent(cell(workload.hidden), backend=backend) for _ in range(workload.layers)
    ]
    layer: Any = layers[0] if len(layers) == 1 else rnn_jax.serial(*layers)
    model = rnn_jax.language_model(workload.vocab, layer, embedding_size=workload.embedding)
    kind = rnn_jax.parse_truncation(workload.truncation)
    return model if workload.truncation == "full" else rnn_jax.truncate(model, kind)


def params_of(workload: Language, arrays: Arrays) -> Any:
    """The workload's arrays in the model's layout."""
    layers: dict[str, Any] = {}
    for index in range(workload.layers):
        layer: Any = {name: arrays[f"{name}.{index}"] for name in ("w_ih", "w_hh", "b")}
        if workload.cell == "gru":
            layer["b_hh"] = np.pad(arrays[f"b_hn.{index}"], (2 * workload.hidden, 0))
        layers[str(index)] = layer
    params = {
        "layer": layers["0"] if workload.layers == 1 else layers,
        "readout": {"w": arrays["w_out"], "b": arrays["b_out"]},
    }
    if "embedding" in arrays:
        params["embedding"] = arrays["embedding"]
    # Copies, for a training state is given away.
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)


def to_workload(workload: Language, params: Any) -> dict[str, Any]:
    """The way back, for parameters or differences between them."""
    named = {"w_out": params["readout"]["w"], "b_out": params["readout"]["b"]}
    if "embedding" in params:
        named["embedding"] = params["embedding"]
    for index in range(workload.layers):
        layer = params["layer"] if workload.layers == 1 else params["layer"][str(index)]
        named |= {f"{name}.{index}": layer[name] for name in ("w_ih", "w_hh", "b")}
        if "b_hh" in layer:
            named[f"b_hn.{index}"] = layer["b_hh"][2 * workload.hidden :]
    return named


def optimizer_of(workload: Language) -> Any:
    """Plain SGD, after clipping by the global norm if there is any."""
    if workload.clip is None:
        return rnn_jax.sgd(workload.learning_rate)
    clip = optax.clip_by_global_norm(workload.clip)
    return optax.chain(clip, optax.sgd(workload.learning_rate))


def train_step(workload: Language, arrays: Arrays, backend: Backend = "auto") -> tuple[Any, Any]:
    """The state before the first step, and the step."""
    model, optimizer = model_of(workload, backend), optimizer_of(workload)
    state = rnn_jax.init_train_state(model, optimizer, params_of(workload, arrays))
    return state, rnn_jax.make_train_step(model, optimizer)
