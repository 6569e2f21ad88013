"""What the other operators of a graph do with what is known of their inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rnn_jax.interop.onnx import merges, products, rows, shapes, sizes
from rnn_jax.interop.onnx.node import Node
from rnn_jax.interop.onnx.values import (
    Atom,
    Final,
    Known,
    Order,
    Sizes,
    Steps,
    Value,
    Zeros,
    axis_of,
)
from rnn_jax.interop.parts import Part
from rnn_jax.interop.weights import owned
from rnn_jax.layers.embedding import embedding

__all__ = ["OPERATORS"]

# The numbers of ONNX's types:
_FLOATS = {1, 10, 11, 16}  # float32, float16, float64, bfloat16
_WIDE = {1, 6, 7, 11, 12, 13}  # those of 32 bits or more, which hold ids and lengths as they are


def _same(node: Node) -> Value | None:
    return node.inputs[0]


def _cast(node: Node) -> Value | None:
    value, kind = node.inputs[0], node.attributes["to"]
    whole = isinstance(value, Steps) and value.ids
    if whole and kind not in _WIDE:
        return node.no("casts ids or lengths to fewer than 32 bits")
    if isinstance(value, Steps | Final) and not whole and kind not in _FLOATS:
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
        return sizes.picked(source, index.array)
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


def _add(node: Node) -> Value | None:
    pair = node.inputs[:2]
    if all(isinstance(value, Steps) for value in pair):
        return merges.merged(node, pair, "sum")
    if all(isinstance(value, Sizes | Known | Zeros) for value in pair):
        return sizes.computed(node)
    steps, bias = pair if isinstance(pair[0], Steps) else pair[::-1]
    if isinstance(steps, Steps) and isinstance(bias, Known):
        return products.biased(node, steps, bias.array)
    return node.no("adds something else than a bias")


def _concat(node: Node) -> Value | None:
    values, axis = list(node.inputs), node.attributes.get("axis", 0)
    if all(isinstance(value, Zeros) for value in values):
        return Zeros()
    if all(isinstance(value, Sizes | Known) for value in values):
        return sizes.joined(values)
    if all(isinstance(value, Final) for value in values):
        return shapes.concatenated(node, values, axis)
    first = values[0]
    if isinstance(first, Steps) and all(_is_input(value) for value in values):
        # States that come in one by one. Only as a carry is an input of this axis of any use.
        joint = Atom(f"{first.source} …", None, whole=False)
        number = axis_of(first.axes, axis)
        return replace(first, axes=(*first.axes[:number], (joint,), *first.axes[number + 1 :]))
    if isinstance(first, Steps) and axis_of(first.axes, axis) == len(first.axes) - 1:
        return merges.merged(node, values, "concat")
    return node.no("joins what are not both directions of one layer")


def _is_input(value: Value | None) -> bool:
    return isinstance(value, Steps) and value.untouched and not value.ids


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


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "Add": _add,
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": sizes.constant_of_shape,
    "Dropout": _dropout,
    "Expand": sizes.expand,
    "Flatten": shapes.flatten,
    "Gather": _gather,
    "Greater": rows.compared,
    "Gemm": products.gemm,
    "Identity": _same,
    "Less": rows.compared,
    "LogSoftmax": products.softmax,
    "MatMul": products.matmul,
    "Mul": sizes.computed,
    "OneHot": _one_hot,
    "Range": rows.range_,
    "ReduceMax": _pooled("max"),
    "ReduceMean": _pooled("mean"),
    "ReduceProd": _pooled(""),
    "Reshape": shapes.reshape,
    "ScatterElements": rows.scatter,
    "Shape": sizes.shape,
    "Slice": shapes.slice_,
    "Softmax": products.softmax,
    "Split": shapes.split,
    "Squeeze": shapes.squeeze,
    "TopK": rows.top_k,
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    "Where": rows.where,
}
