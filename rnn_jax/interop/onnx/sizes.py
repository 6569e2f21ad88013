"""Operators that compute shapes, and constants of a shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnn_jax.interop.onnx.node import Node
from rnn_jax.interop.onnx.values import Atom, Axis, Final, Known, Sizes, Steps, Value, Zeros

__all__ = ["computed", "constant_of_shape", "expand", "joined", "picked", "shape"]

_FREE: Axis = (Atom("?", None),)  # a size of which nothing is known


def shape(node: Node) -> Value:
    """Sizes of the axes; of what has none here, nothing is known of them."""
    value = node.inputs[0]
    axes = value.axes if isinstance(value, Steps | Final) else (_FREE,)
    found = _sizes(tuple(_entry(axis) for axis in axes))
    start, end = (node.attributes.get(name) for name in ("start", "end"))
    return picked(found, np.arange(len(axes))[start:end])


def _entry(axis: Axis) -> int | tuple[str, ...]:
    sizes = [atom.size for atom in axis]
    if None in sizes:
        return tuple(atom.name for atom in axis if atom.name)
    return math.prod(size for size in sizes if size is not None)


def _sizes(entries: tuple[int | tuple[str, ...], ...], scalar: bool = False) -> Known | Sizes:
    """Sizes, as numbers where all are."""
    if any(isinstance(entry, tuple) for entry in entries):
        return Sizes(entries, scalar)
    array = np.array(entries, np.int64)
    return Known(array.reshape(()) if scalar else array)


def picked(value: Known | Sizes, index: Any) -> Known | Sizes:
    """Some of the entries of a shape."""
    entries = value.entries if isinstance(value, Sizes) else tuple(np.ravel(value.array).tolist())
    index = np.asarray(index)
    return _sizes(tuple(entries[i] for i in np.ravel(index)), scalar=index.ndim == 0)


def joined(values: list[Any]) -> Known | Sizes:
    """The parts of a shape as one."""
    entries: list[Any] = []
    for value in values:
        known = value.entries if isinstance(value, Sizes) else np.ravel(value.array).tolist()
        entries.extend(known)
    return _sizes(tuple(entries))


def computed(node: Node) -> Value:
    """A product of free sizes; of any other number made of them nothing is known."""
    pair = node.inputs[:2]
    if all(isinstance(value, Known | Sizes) for value in pair):
        entries = [joined([value]) for value in pair]
        scalar = all(
            value.scalar if isinstance(value, Sizes) else value.array.ndim == 0  # type: ignore[union-attr]
            for value in pair
        )
        one, two = (e.entries if isinstance(e, Sizes) else (-2,) for e in entries)
        if node.operator == "Mul" and len(one) == len(two) == 1 and -2 not in (*one, *two):
            assert isinstance(one[0], tuple) and isinstance(two[0], tuple)
            return Sizes(((*one[0], *two[0]),), scalar)
        return Sizes((("?",),), scalar)
    return node.no("computes with what no layer here multiplies")


def constant_of_shape(node: Node) -> Value:
    """Zeros; of another constant and a free shape nothing is known."""
    value = node.attributes.get("value")
    fill = np.zeros(1, np.float32) if value is None else np.ravel(value)
    sizes = node.inputs[0]
    if isinstance(sizes, Known):
        return Known(np.full([int(n) for n in np.ravel(sizes.array)], fill[0], fill.dtype))
    return node.no("fills a shape") if fill[0] else Zeros()


def expand(node: Node) -> Value:
    """Zeros stay zeros; other numbers are repeated where the shape is known."""
    value, sizes = node.inputs[:2]
    if isinstance(value, Zeros) or (isinstance(value, Known) and not value.array.any()):
        return Zeros()
    if isinstance(value, Known) and isinstance(sizes, Known | Sizes):
        entries = joined([sizes])
        numbers = entries.entries if isinstance(entries, Sizes) else entries.array.tolist()
        # Along a free axis one copy stands for all.
        target = [n if isinstance(n, int) and n > 0 else 1 for n in numbers]
        try:
            return Known(
                np.broadcast_to(value.array, np.broadcast_shapes(value.array.shape, target))
            )
        except ValueError:
            pass
    return node.no("repeats what no layer here repeats")
