"""rnn_jax: a language model, its training step and generation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnn_jax
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.ours import CELLS
from rnn_jax.recurrence.unroll import Backend

__all__ = [
    "model_of", "optimizer_of", "params_of", "to_workload", "train_step", "updates_of",
    "with_logits",
]  # fmt: skip


def model_of(workload: Language, backend: Backend = "auto") -> Any:
    """`language_model` over one layer or a stack, with its noise, truncated."""
    cell, _ = CELLS[workload.cell]
    layers: list[Any] = [rnn_jax.recurrent(cell(size), backend=backend) for size in workload.sizes]
    if workload.noise is not None:
        inputs, between, outputs, weights = workload.noise
        rates = [inputs, *[between] * (workload.layers - 1)]
        layers = [
            part
            for rate, layer in zip(rates, layers, strict=True)
            for part in (_locked(rate), rnn_jax.weight_drop(layer, weights))
        ]
        layers.append(_locked(outputs))
    model = rnn_jax.language_model(
        workload.vocab,
        layers[0] if len(layers) == 1 else rnn_jax.serial(*layers),
        embedding_size=workload.embedding,
        tied=workload.tied,
    )
    kind = rnn_jax.parse_truncation(workload.truncation)
    return model if workload.truncation == "full" else rnn_jax.truncate(model, kind)


def _locked(rate: float) -> Any:
    return rnn_jax.dropout(rate, variational=True)


def _places(workload: Language) -> list[str]:
    """Where the recurrent layers stand in a stack: with noise, each above a dropout."""
    if workload.noise is None:
        return [str(index) for index in range(workload.layers)]
    return [str(2 * index + 1) for index in range(workload.layers)]


def params_of(workload: Language, arrays: Arrays) -> Any:
    """The workload's arrays in the model's layout."""
    layers: dict[str, Any] = {}
    if workload.noise is not None:  # dropouts have no parameters
        layers = {str(2 * index): {} for index in range(workload.layers + 1)}
    for index, place in enumerate(_places(workload)):
        layer: Any = {name: arrays[f"{name}.{index}"] for name in ("w_ih", "w_hh", "b")}
        if workload.cell == "gru":
            layer["b_hh"] = np.pad(arrays[f"b_hn.{index}"], (2 * workload.sizes[index], 0))
        layers[place] = layer
    readout = {"b": arrays["b_out"]} | ({} if workload.tied else {"w": arrays["w_out"]})
    params = {"layer": layers["0"] if len(layers) == 1 else layers, "readout": readout}
    if "embedding" in arrays:
        params["embedding"] = arrays["embedding"]
    # Copies, for a training state is given away.
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)


def to_workload(workload: Language, params: Any) -> dict[str, Any]:
    """The way back, for parameters or differences between them."""
    named = {"b_out": params["readout"]["b"]}
    if not workload.tied:
        named["w_out"] = params["readout"]["w"]
    if "embedding" in params:
        named["embedding"] = params["embedding"]
    alone = workload.layers == 1 and workload.noise is None
    for index, place in enumerate(_places(workload)):
        layer = params["layer"] if alone else params["layer"][place]
        named |= {f"{name}.{index}": layer[name] for name in ("w_ih", "w_hh", "b")}
        if "b_hh" in layer:
            named[f"b_hn.{index}"] = layer["b_hh"][2 * workload.sizes[index] :]
    return named


def optimizer_of(workload: Language) -> Any:
    """Plain SGD or Adam, after clipping by the global norm if there is any."""
    rate = workload.learning_rate
    if workload.clip is None:
        return rnn_jax.sgd(rate) if workload.optimizer == "sgd" else optax.adam(rate)
    rule = {"sgd": optax.sgd, "adam": optax.adam}[workload.optimizer](rate)
    return optax.chain(optax.clip_by_global_norm(workload.clip), rule)


def updates_of(
    workload: Language, before: Any, after: Any, named_of: Callable[[Any], Any] | None = None
) -> dict[str, np.ndarray]:
    """What a step did to the parameters, after minus before, and Adam's means after it.

    The means stand under ``mean.NAME``. ``named_of`` gives parameters their names in the workload,
    those of our model without it.
    """
    named_of = named_of or partial(to_workload, workload)
    moved = jax.tree.map(
        lambda a, b: np.asarray(a, np.float64) - np.asarray(b, np.float64),
        after.params,
        before.params,
    )
    named = dict(named_of(moved))
    if workload.optimizer == "adam":
        means = named_of(optax.tree_utils.tree_get(after.opt_state, "mu"))
        named |= {f"mean.{name}": mean for name, mean in means.items()}
    return {name: np.asarray(array) for name, array in named.items()}


def with_logits(logits: Any, targets: Any, *, mask: Any = None, reduction: Any = "mean") -> Any:
    """`rnn_jax.cross_entropy` as a loss of one's own, which is given all logits."""
    return rnn_jax.cross_entropy(logits, targets, mask=mask, reduction=reduction)


def train_step(
    workload: Language,
    arrays: Arrays,
    backend: Backend = "auto",
    loss: Any = rnn_jax.cross_entropy,
) -> tuple[Any, Any]:
    """The state before the first step, and the step."""
    model, optimizer = model_of(workload, backend), optimizer_of(workload)
    state = rnn_jax.init_train_state(model, optimizer, params_of(workload, arrays))
    return state, rnn_jax.make_train_step(model, optimizer, loss=loss)
