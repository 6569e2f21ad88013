"""Operators on the rows of a batch: their order, and which of them have ids or steps."""

from __future__ import annotations

from dataclasses import replace

from rnn_jax.interop.onnx.node import Node
from rnn_jax.interop.onnx.values import (
    Condition,
    Final,
    Known,
    Order,
    Sizes,
    Steps,
    Value,
    Zeros,
)

__all__ = ["compared", "range_", "scatter", "top_k", "where"]


def compared(node: Node) -> Value | None:
    """Where ids are below 0, or lengths above it."""
    one, other = node.inputs[:2]
    if isinstance(one, Steps) and one.untouched and one.ids and isinstance(other, Known):
        of_ids = node.operator == "Less"
        if not other.array.any() and (of_ids or len(one.axes) == 1):
            return Condition(one.source, of_ids)
    return node.no("compares what is not ids or lengths with 0")


def where(node: Node) -> Value | None:
    """Ids but for those below 0, which are none; final states but of rows of length 0."""
    condition, yes, no = node.inputs[:3]
    if isinstance(condition, Condition):
        is_input = isinstance(no, Steps) and no.untouched and no.source == condition.source
        if condition.of_ids and isinstance(yes, Known) and is_input:
            return no
        lengths = yes.rows[0].steps.lengths if isinstance(yes, Final) else ""
        if (
            not condition.of_ids
            and lengths == condition.source
            and isinstance(no, Steps | Zeros | Known)
        ):
            return yes
    return node.no("chooses by what is not ids or lengths")


def top_k(node: Node) -> list[Value]:
    """Lengths in falling order, and the order of their rows."""
    lengths = node.inputs[0]
    largest, sorts = (node.attributes.get(name, 1) for name in ("largest", "sorted"))
    if (
        isinstance(lengths, Steps)
        and lengths.untouched
        and len(lengths.axes) == 1
        and isinstance(node.inputs[1], Sizes)
        and largest
        and sorts
    ):
        return [replace(lengths, order=node.output), Order(node.output)]
    return [node.no("does not sort lengths")] * 2


def scatter(node: Node) -> Value | None:
    """The order that restores another."""
    zeros, order, numbers = node.inputs[:3]
    if isinstance(zeros, Zeros) and isinstance(order, Order) and numbers == Order(""):
        return Order(order.name, restores=True)
    return node.no("does not restore the order of a batch")


def range_(node: Node) -> Value | None:
    """The rows of a batch, numbered."""
    start, limit, step = node.inputs[:3]
    ones = isinstance(start, Known) and isinstance(step, Known)
    if ones and (start.array, step.array) == (0, 1) and isinstance(limit, Sizes):  # type: ignore[union-attr]
        return Order("")
    return node.no("does not number a batch")
