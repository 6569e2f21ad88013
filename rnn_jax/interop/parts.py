"""Layers as other libraries line them up, joined to one layer or model of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnn_jax.layers.dropout import Dropout
from rnn_jax.layers.embedding import Embedding
from rnn_jax.layers.linear import Linear
from rnn_jax.layers.serial import serial
from rnn_jax.models.language_model import language_model
from rnn_jax.models.sequence_classifier import sequence_classifier
from rnn_jax.models.sequence_tagger import sequence_tagger
from rnn_jax.types import Layer, Model, Params

__all__ = ["Part", "joined", "stacked"]


class Part(NamedTuple):
    """A layer and its parameters; or, without a layer, what else happens there.

    pooling: "last", "mean" or "max", how all steps become one; "softmax", of the outputs.
    """

    layer: Layer | None
    params: Params
    pooling: str = ""


def joined(parts: Sequence[Part], width: int, *, ids: bool) -> tuple[Layer | Model, Params]:
    """The layer of some parts, or the model where the last one of them is linear.

    Of ids, and with as many outputs, it is a language model if it is causal; of pooled steps a
    classifier; else a tagger. A softmax above it is left off.

    Args:
      parts: from the bottom to the top.
      width: how many features, or ids, the input has.
      ids: whether the input is of ids.

    Raises:
      ValueError: no layer or model is made of these parts in this order.
    """
    parts = list(parts)
    if parts[-1].pooling == "softmax":
        parts.pop()
    if any(part.pooling == "softmax" for part in parts):
        raise ValueError("it has a softmax below its last layer, and no layer here is one")
    # A product of the last step, or of the mean, is that step, or the mean, of the products.
    if parts[-1].pooling in ("last", "mean") and isinstance(parts[-2].layer, Linear):
        parts[-2:] = parts[:-3:-1]
    read = parts.pop() if isinstance(parts[-1].layer, Linear) else None
    # Noise on what is pooled has no place here; without it, the values are the same.
    while read is not None and isinstance(parts[-1].layer, Dropout) and _pooled(parts[:-1]):
        parts.pop()
    pooling = parts.pop().pooling if parts[-1].layer is None else ""
    if _pooled(parts) or (pooling and read is None):
        raise ValueError("what it pools over all steps is not read by one matrix")
    layer, params = stacked(parts)
    if read is None or read.layer is None or read.layer.output_size is None:
        return layer, params
    size, bias = read.layer.output_size, "b" in read.params
    if ids and size == width and not pooling and layer.causal:
        return _language_model(parts, read.params, size)
    model: Any
    if pooling:
        how: Any = pooling
        model = sequence_classifier(size, layer, input_size=width, bias=bias, pooling=how)
    else:
        model = sequence_tagger(size, layer, input_size=width, bias=bias)
    return model, {"layer": params, "readout": read.params}


def _pooled(parts: Sequence[Part]) -> bool:
    return any(part.layer is None for part in parts)


def _language_model(
    parts: Sequence[Part], readout: Params, vocab_size: int
) -> tuple[Model, Params]:
    embedded = isinstance(parts[0].layer, Embedding)
    layer, inner = stacked(parts[embedded:])
    params: Params = {"layer": inner}
    tied, size = False, None
    if embedded:
        table = params["embedding"] = parts[0].params["embedding"]
        size = table.shape[1]
        tied = np.array_equal(np.asarray(table).T, np.asarray(readout["w"]))
    kept = {name: leaf for name, leaf in readout.items() if not (tied and name == "w")}
    model = language_model(vocab_size, layer, embedding_size=size, bias="b" in readout, tied=tied)
    return model, {**params, "readout": kept} if kept else params


def stacked(parts: Sequence[Part]) -> tuple[Layer, Params]:
    """The parts' layers, one on top of the other, and their parameters."""
    layers = [part.layer for part in parts if part.layer is not None]
    if len(layers) == 1:
        return layers[0], parts[0].params
    return serial(*layers), {str(i): part.params for i, part in enumerate(parts)}
