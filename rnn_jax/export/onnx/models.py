"""Models as nodes: embedding, recurrent part and read-out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnn_jax.export.onnx.flow import Flow, Stream
from rnn_jax.export.onnx.last import last_output
from rnn_jax.export.onnx.layers import layer_nodes
from rnn_jax.export.onnx.rules import Unsupported
from rnn_jax.export.onnx.translate import struct, translate
from rnn_jax.export.reads import bare
from rnn_jax.models import LanguageModel, SequenceClassifier, SequenceTagger
from rnn_jax.types import Carry, Params

__all__ = ["model_nodes"]

Results = tuple[Carry, str]  # the new carry, a tree of values, and the outputs


def model_nodes(flow: Flow, model: Any, params: Params, carry: Carry, xs: Stream) -> Results:
    """A layer or model over a sequence, without noise; see `layer_nodes`."""
    model = bare(model)
    write: Callable[..., Results] = _WRITTEN.get(type(model), _layer)
    return write(flow, model, params, carry, xs)


def _layer(flow: Flow, layer: Any, params: Params, carry: Carry, xs: Stream) -> Results:
    after, ys = layer_nodes(flow, layer, params, carry, xs, "")
    return after, ys.value


def _language_model(
    flow: Flow, model: LanguageModel, params: Params, carry: Carry, xs: Stream
) -> Results:
    if model.embedding is not None:
        _, xs = layer_nodes(flow, model.embedding, params, (), xs, "")
    after, ys = layer_nodes(flow, model.layer, params["layer"], carry, xs, "layer")
    if model.readout is not None:
        return after, _softmax(flow, model, params["readout"], ys)
    w, b, axis = model.matrix(params)
    matrix = flow.graph.constant(w, "readout.w")
    if axis == 0:  # the embedding is there once
        matrix = flow.graph.add("Transpose", matrix, perm=[1, 0])
    return after, _affine(flow, ys.value, matrix, b)


def _affine(flow: Flow, value: str, matrix: str, b: Any) -> str:
    products = flow.graph.add("MatMul", value, matrix)
    if b is None:
        return products
    return flow.graph.add("Add", products, flow.graph.constant(b, "readout.b"))


def _softmax(flow: Flow, model: LanguageModel, params: Params, ys: Stream) -> str:
    """What a read-out of its own computes from the features."""
    readout: Any = model.readout
    sizes = flow.sizes
    shape = struct((sizes.T, sizes.B, ys.size), jnp.float32)

    def logits(features: Any) -> tuple[Any]:
        return (readout.logits(params, features),)

    try:
        (value,) = translate(flow.graph, sizes, logits, [shape], [ys.value])
    except Unsupported as error:
        name = type(readout).__name__
        raise Unsupported(f"the read-out {name}, which computes {error}") from None
    return value


def _tagger(flow: Flow, model: SequenceTagger, params: Params, carry: Carry, xs: Stream) -> Results:
    after, ys = layer_nodes(flow, model.layer, params["layer"], carry, xs, "layer")
    return after, _read_out(flow, params, ys.value)


def _classifier(
    flow: Flow, model: SequenceClassifier, params: Params, carry: Carry, xs: Stream
) -> Results:
    part, layer = params["layer"], model.layer
    if model.pooling == "last":
        after, pooled = last_output(flow, layer, part, carry, xs, "layer")
    else:
        after, ys = layer_nodes(flow, layer, part, carry, xs, "layer")
        pooled = (_mean if model.pooling == "mean" else _max)(flow, ys)
    return after, _read_out(flow, params, pooled)


def _read_out(flow: Flow, params: Params, value: str) -> str:
    w = flow.graph.constant(params["readout"]["w"], "readout.w")
    return _affine(flow, value, w, params["readout"].get("b"))


def _mean(flow: Flow, ys: Stream) -> str:
    g = flow.graph
    if flow.lengths is None:
        return g.reduce("ReduceMean", ys.value, [0])
    total = g.reduce("ReduceSum", flow.filled(ys).value, [0])
    valid = g.reduce("ReduceSum", g.cast(flow.mask, np.float32), [0])
    count = g.add("Unsqueeze", g.add("Max", valid, g.scalar(1)), g.integers(1))
    return g.add("Div", total, count)


def _max(flow: Flow, ys: Stream) -> str:
    g = flow.graph
    if flow.lengths is None:
        return g.reduce("ReduceMax", ys.value, [0])
    mask = g.add("Unsqueeze", flow.mask, g.integers(2))
    values = g.add("Where", mask, ys.value, g.scalar(-np.inf))
    zero = g.constant(np.array(0, np.int32), "no_steps")
    some = g.add("Unsqueeze", g.add("Greater", flow.lengths, zero), g.integers(1))
    return g.add("Where", some, g.reduce("ReduceMax", values, [0]), g.scalar(0))


_WRITTEN: dict[type, Callable[..., Results]] = {
    LanguageModel: _language_model,
    SequenceClassifier: _classifier,
    SequenceTagger: _tagger,
}
