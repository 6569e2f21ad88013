"""Products with a matrix, and what stands on them: a bias, a softmax."""

from __future__ import annotations

from dataclasses import replace

from rnn_jax.interop.onnx.node import Node
from rnn_jax.interop.onnx.values import Atom, Final, Known, Steps, Unknown, Value, axis_of
from rnn_jax.interop.parts import Part
from rnn_jax.interop.weights import Weights, owned
from rnn_jax.layers.bidirectional import Bidirectional
from rnn_jax.layers.linear import Linear, linear

__all__ = ["biased", "gemm", "matmul", "softmax"]


def matmul(node: Node) -> Value | None:
    """The features times a matrix."""
    value, matrix = node.inputs[:2]
    if isinstance(matrix, Known) and matrix.array.ndim == 2:
        return _mapped(node, value, matrix.array, None)
    return node.no("is not that of the sequence and a matrix in the file")


def gemm(node: Node) -> Value | None:
    """The features times a matrix, with a bias or without."""
    value, matrix = node.inputs[:2]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if (
        not isinstance(matrix, Known)
        or not (bias is None or isinstance(bias, Known))
        or node.attributes.get("transA")
    ):
        return node.no("is not that of the sequence and a matrix in the file")
    w = matrix.array.T if node.attributes.get("transB") else matrix.array
    b = None if bias is None else bias.array * w.dtype.type(node.attributes.get("beta", 1.0))
    return _mapped(node, value, w * w.dtype.type(node.attributes.get("alpha", 1.0)), b)


def _mapped(node: Node, value: Value | None, w: Weights, b: Weights | None) -> Value:
    """The sequence, or its last outputs, times a matrix along the features."""
    steps = _read_out(value) if isinstance(value, Final) else value
    if isinstance(steps, Unknown):
        return steps
    if not isinstance(steps, Steps) or (steps.ids and steps.untouched):
        return node.no("is not that of the sequence and a matrix in the file")
    if not steps.features_last:
        return node.no("reads some of the features, or in another order")
    params = {"w": owned(w)}
    if b is not None:
        if b.size != w.shape[1] or b.shape[-1] != w.shape[1]:
            return node.no("adds a bias of another size")
        params["b"] = owned(b.reshape(-1))
    grown = steps.grown(linear(w.shape[1], bias=b is not None), params, w.shape[0])
    axes = (*steps.axes[:-1], (Atom("outputs", w.shape[1]),))
    return replace(grown, axes=axes, features=("outputs",))


def biased(node: Node, steps: Steps, bias: Weights) -> Value:
    """A product with its bias, which is an operator of its own."""
    last = steps.parts[-1] if steps.parts else Part(None, {})
    if not isinstance(last.layer, Linear) or last.layer.bias:
        return node.no("adds numbers to what is no product with a matrix")
    size = last.layer.size
    if bias.shape[-1:] != (size,) or bias.size != size or bias.ndim > len(steps.axes):
        return node.no("adds a bias of another size")
    if not steps.features_last:
        return node.no("adds numbers along another axis than that of the product's outputs")
    part = Part(linear(size), {**last.params, "b": owned(bias.reshape(-1))})
    return replace(steps, parts=(*steps.parts[:-1], part))


def softmax(node: Node) -> Value | None:
    """The outputs of a product, which may be left off above the last layer."""
    steps = node.inputs[0]
    if isinstance(steps, Steps) and steps.parts and isinstance(steps.parts[-1].layer, Linear):
        axis = node.attributes.get("axis", -1)
        if steps.features_last and axis_of(steps.axes, axis) == len(steps.axes) - 1:
            return replace(steps, parts=(*steps.parts, Part(None, {}, "softmax")))
    return node.no("is not over the outputs of a read-out")


def _read_out(final: Final) -> Steps | Unknown:
    """Final states as what a classifier reads: the last outputs of a layer."""
    steps = final.rows[0].steps
    layer = steps.parts[-1].layer
    wanted = [False, True] if isinstance(layer, Bidirectional) else None
    alone = len(final.rows) == 1
    names = tuple(a.name for a in final.axes[-1] if not (alone and a.name == "states"))
    units = ("states", "units") if wanted else ("units",)
    if (
        any(row.kind != "h" or row.steps is not steps for row in final.rows)
        or (wanted and [row.reverse for row in final.rows] != wanted)
        or (not wanted and not alone)
        or names != units
        or (wanted and len(steps.features) != 2)
    ):
        return Unknown(
            f"what its {type(layer).__name__} node {final.rows[0].node!r} ends with is read in a "
            "way in which no model here reads it"
        )
    features = ("states", "units") if wanted else ("units",)
    return replace(
        steps, axes=final.axes, parts=(*steps.parts, Part(None, {}, "last")), features=features
    )
