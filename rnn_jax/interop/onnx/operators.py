"""What the other operators of a graph do with what is known of their inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rnn_jax.interop.onnx import rows, shapes
from rnn_jax.interop.onnx.node import Node
from rnn_jax.interop.onnx.values import (
    Atom,
    Final,
    Known,
    Order,
    Sizes,
    Steps,
    Unknown,
    Value,
    Zeros,
    axis_of,
)
from rnn_jax.interop.parts import Part
from rnn_jax.interop.weights import Weights, owned
from rnn_jax.layers.bidirectional import Bidirectional, bidirectional
from rnn_jax.layers.embedding import embedding
from rnn_jax.layers.linear import Linear, linear
from rnn_jax.layers.recurrent import Recurrent

__all__ = ["OPERATORS", "read_out"]


_FLOATS = {1, 10, 11, 16}  # the numbers of float32, float16, float64 and bfloat16


def _same(node: Node) -> Value | None:
    return node.inputs[0]


def _cast(node: Node) -> Value | None:
    value = node.inputs[0]
    if isinstance(value, Steps) and not value.ids and node.attributes["to"] not in _FLOATS:
        return node.no("rounds the sequence")
    return value


def _dropout(node: Node) -> Value | None:
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if isinstance(training, Known) and training.array.any():
        return node.no("drops out in inference, too")
    return node.inputs[0]


def _gather(node: Node) -> Value | None:
    source, index = node.inputs[:2]
    axis = node.attributes.get("axis", 0)
    if isinstance(source, Known) and isinstance(index, Steps):
        table = source.array
        if not index.untouched or not index.ids or table.ndim != 2 or axis not in (0, -2):
            return node.no("looks up something else than rows for the ids of the input")
        atom = Atom("embedding", table.shape[1])
        layer = embedding(table.shape[1])
        grown = index.grown(layer, {"embedding": owned(table)}, table.shape[0])
        return replace(
            grown, axes=(*index.axes, (atom,)), features=("embedding",), ids=False, vocabulary=True
        )
    if isinstance(source, Steps) and isinstance(index, Order):
        return _permuted(node, source, index, axis)
    if isinstance(index, Known) and isinstance(source, Steps | Final):
        return shapes.taken(node, source, index.array, axis_of(source.axes, axis))
    if isinstance(source, Sizes) and isinstance(index, Known):
        return shapes.picked(source, index.array)
    return node.no("picks what is not known from the file")


def _permuted(node: Node, steps: Steps, order: Order, axis: int) -> Value:
    group = steps.axes[axis_of(steps.axes, axis)]
    if len(group) != 1 or (steps.batch and group[0].name != steps.batch):
        return node.no("permutes another axis than the batch's")
    if order.restores != bool(steps.order) or (steps.order and steps.order != order.name):
        return node.no("permutes the rows of the batch")
    return replace(steps, order="" if order.restores else order.name)


def _one_hot(node: Node) -> Value | None:
    ids, depth, values = node.inputs[:3]
    axis = node.attributes.get("axis", -1)
    if (
        isinstance(ids, Steps)
        and ids.ids
        and ids.untouched
        and isinstance(depth, Known)
        and isinstance(values, Known)
        and values.array.tolist() == [0, 1]
        and axis in (-1, len(ids.axes))
    ):
        size = int(np.ravel(depth.array)[0])
        axes = (*ids.axes, (Atom("one-hot", size),))
        return replace(
            ids, axes=axes, features=("one-hot",), ids=False, vocabulary=True, width=size
        )
    return node.no("is not that of ids and 0 and 1 on a last axis")


def _matmul(node: Node) -> Value | None:
    value, matrix = node.inputs[:2]
    if isinstance(matrix, Known) and matrix.array.ndim == 2:
        return _mapped(node, value, matrix.array, None)
    return node.no("is not that of the sequence and a matrix in the file")


def _gemm(node: Node) -> Value | None:
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
    steps = read_out(value) if isinstance(value, Final) else value
    if isinstance(steps, Unknown):
        return steps
    if not isinstance(steps, Steps) or (steps.ids and steps.untouched):
        return node.no("is not that of the sequence and a matrix in the file")
    names = tuple(atom.name for atom in steps.axes[-1])
    if not all(a.whole for a in steps.axes[-1]) or (steps.features and names != steps.features):
        return node.no("reads some of the features, or in another order")
    params = {"w": owned(w)}
    if b is not None:
        if b.size != w.shape[1] or b.shape[-1] != w.shape[1]:
            return node.no("adds a bias of another size")
        params["b"] = owned(b.reshape(-1))
    grown = steps.grown(linear(w.shape[1], bias=b is not None), params, w.shape[0])
    axes = (*steps.axes[:-1], (Atom("outputs", w.shape[1]),))
    return replace(grown, axes=axes, features=("outputs",))


def _add(node: Node) -> Value | None:
    pair = node.inputs[:2]
    if all(isinstance(value, Steps) for value in pair):
        return _merged(node, list(pair), "sum")
    if all(isinstance(value, Sizes | Known | Zeros) for value in pair):
        return shapes.computed(node)
    steps, bias = pair if isinstance(pair[0], Steps) else pair[::-1]
    if isinstance(steps, Steps) and isinstance(bias, Known):
        last = steps.parts[-1] if steps.parts else Part(None, None)
        size, array = last.layer.output_size if last.layer else None, bias.array
        fits = array.shape[-1:] == (size,) and array.size == size
        if isinstance(last.layer, Linear) and not last.layer.bias and fits:
            biased = Part(linear(last.layer.size), {**last.params, "b": owned(array.reshape(-1))})
            return replace(steps, parts=(*steps.parts[:-1], biased))
        return node.no("adds numbers to what is no product with a matrix")
    return node.no("adds something else than a bias")


def _concat(node: Node) -> Value | None:
    values, axis = list(node.inputs), node.attributes.get("axis", 0)
    if all(isinstance(value, Zeros) for value in values):
        return Zeros()
    if all(isinstance(value, Sizes | Known) for value in values):
        return shapes.joined(values)
    if all(isinstance(value, Final) for value in values):
        return shapes.concatenated(node, values, axis)
    first = values[0]
    if isinstance(first, Steps) and all(_is_input(value) for value in values):
        # States that come in one by one. Only as a carry is an input of this axis of any use.
        joint = Atom(f"{first.source} …", None, whole=False)
        number = axis_of(first.axes, axis)
        return replace(first, axes=(*first.axes[:number], (joint,), *first.axes[number + 1 :]))
    if isinstance(first, Steps) and axis_of(first.axes, axis) == len(first.axes) - 1:
        return _merged(node, values, "concat")
    return node.no("joins what are not both directions of one layer")


def _is_input(value: Value | None) -> bool:
    return isinstance(value, Steps) and value.untouched and not value.ids


def _merged(node: Node, values: list[Value | None], merge: Any) -> Value:
    """Two nodes over one sequence, one in each direction, as one layer."""
    if len(values) == 2 and all(isinstance(value, Steps) and value.parts for value in values):
        one, two = values
        assert isinstance(one, Steps) and isinstance(two, Steps)
        pooled = [steps.parts[-1] for steps in (one, two) if steps.parts[-1].pooling == "last"]
        if len(pooled) == 2:  # of each direction the step at which it has read all
            one, two = (replace(steps, parts=steps.parts[:-1]) for steps in (one, two))
        below = one.parts[:-1]
        same = len(one.parts) == len(two.parts) and all(
            a is b for a, b in zip(below, two.parts, strict=False)
        )
        layers = one.parts[-1].layer, two.parts[-1].layer
        alike = (one.source, one.axes, one.time, one.lengths, one.order) == (
            two.source, two.axes, two.time, two.lengths, two.order,
        )  # fmt: skip
        if (
            same
            and (alike or (merge == "concat" and one.axes[:-1] == two.axes[:-1]))
            and isinstance(layers[0], Recurrent)
            and isinstance(layers[1], Recurrent)
            and (layers[0].reverse, layers[1].reverse) == (False, True)
        ):
            layer = bidirectional(layers[0], layers[1], merge=merge)
            params = {"forward": one.parts[-1].params, "backward": two.parts[-1].params}
            size = Atom("both", layer.output_size)
            return replace(
                one,
                axes=(*one.axes[:-1], (size,)),
                features=("both",),
                parts=(*below, Part(layer, params), *pooled[:1]),
            )
    return node.no("joins what are not both directions of one layer")


def _pooled(kind: str) -> Callable[[Node], Value | None]:
    def pooled(node: Node) -> Value | None:
        steps = node.inputs[0]
        if isinstance(steps, Sizes):
            return Sizes(((),), scalar=True)
        axes = node.numbers(1, "axes")
        if not isinstance(steps, Steps) or axes is None or len(axes) != 1 or not kind:
            return node.no("does not reduce the sequence over its steps")
        axis = axis_of(steps.axes, axes[0])
        if not steps.settled or [a.name for a in steps.axes[axis]] != [steps.time]:
            return node.no("does not reduce the sequence over its steps")
        if steps.lengths:
            return node.no("takes padding as steps")
        kept: tuple[Any, ...] = ((Atom("", 1),),) if node.attributes.get("keepdims", 1) else ()
        return replace(
            steps,
            axes=(*steps.axes[:axis], *kept, *steps.axes[axis + 1 :]),
            parts=(*steps.parts, Part(None, {}, kind)),
        )

    return pooled


def _softmax(node: Node) -> Value | None:
    steps = node.inputs[0]
    if isinstance(steps, Steps) and steps.parts and isinstance(steps.parts[-1].layer, Linear):
        axis = node.attributes.get("axis", -1)
        if axis_of(steps.axes, axis) == len(steps.axes) - 1:
            return replace(steps, parts=(*steps.parts, Part(None, {}, "softmax")))
    return node.no("is not over the outputs of a read-out")


def read_out(final: Final) -> Steps | Unknown:
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


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "Add": _add,
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": shapes.constant_of_shape,
    "Dropout": _dropout,
    "Expand": shapes.expand,
    "Flatten": shapes.flatten,
    "Gather": _gather,
    "Greater": rows.compared,
    "Gemm": _gemm,
    "Identity": _same,
    "Less": rows.compared,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "Mul": shapes.computed,
    "OneHot": _one_hot,
    "Range": rows.range_,
    "ReduceMax": _pooled("max"),
    "ReduceMean": _pooled("mean"),
    "ReduceProd": _pooled(""),
    "Reshape": shapes.reshape,
    "ScatterElements": rows.scatter,
    "Shape": shapes.shape,
    "Slice": shapes.slice_,
    "Softmax": _softmax,
    "Split": shapes.split,
    "Squeeze": shapes.squeeze,
    "TopK": rows.top_k,
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    "Where": rows.where,
}
