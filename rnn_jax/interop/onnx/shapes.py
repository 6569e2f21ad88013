"""Operators that move, merge, cut and join axes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rnn_jax.interop.onnx.node import Node
from rnn_jax.interop.onnx.sizes import picked
from rnn_jax.interop.onnx.values import (
    Atom,
    Axis,
    Condition,
    Final,
    Known,
    Sizes,
    Steps,
    Value,
    Zeros,
    axis_of,
    regrouped,
)
from rnn_jax.interop.parts import Part
from rnn_jax.layers.bidirectional import Bidirectional
from rnn_jax.layers.recurrent import Recurrent

__all__ = [
    "concatenated",
    "flatten",
    "reshape",
    "slice_",
    "split",
    "squeeze",
    "taken",
    "transpose",
    "unsqueeze",
]


def transpose(node: Node) -> Value | None:
    """Axes in another order."""
    value = node.inputs[0]
    if isinstance(value, Steps | Final):
        order = node.attributes.get("perm", range(len(value.axes))[::-1])
        return replace(value, axes=tuple(value.axes[int(i)] for i in order))
    return value if isinstance(value, Zeros) else node.no("transposes what no layer here does")


def reshape(node: Node) -> Value | None:
    """Axes merged, or taken apart again."""
    value, target = node.inputs[:2]
    if isinstance(value, Steps | Final) and isinstance(target, Known | Sizes):
        axes = regrouped(value.axes, target, copies=not node.attributes.get("allowzero"))
        if axes is not None:
            return replace(value, axes=axes)
        return node.no("mixes the axes of the sequence")
    if isinstance(value, Sizes | Zeros):
        return value
    return node.no("gives a shape that is not known from the file")


def flatten(node: Node) -> Value | None:
    """Axes merged to two."""
    value, axis = node.inputs[0], node.attributes.get("axis", 1)
    if not isinstance(value, Steps | Final):
        return node.no("merges axes of what is no sequence")
    cut = axis if axis >= 0 else axis + len(value.axes)
    groups = value.axes[:cut], value.axes[cut:]
    return replace(value, axes=tuple(tuple(a for axis in g for a in axis) for g in groups))


def unsqueeze(node: Node) -> Value | None:
    """New axes of length 1."""
    value, axes = node.inputs[0], node.numbers(1, "axes")
    if isinstance(value, Sizes):
        return replace(value, scalar=False)
    if isinstance(value, Zeros | Condition):
        return value
    if not isinstance(value, Steps | Final) or axes is None:
        return node.no("gives axes to what is no sequence")
    rank = len(value.axes) + len(axes)
    old, new = iter(value.axes), {axis % rank for axis in axes}
    found: tuple[Axis, ...] = tuple((Atom("", 1),) if i in new else next(old) for i in range(rank))
    return replace(value, axes=found)


def squeeze(node: Node) -> Value | None:
    """Axes of length 1 taken away."""
    value, axes = node.inputs[0], node.numbers(1, "axes")
    if isinstance(value, Sizes):
        return replace(value, scalar=True)
    if isinstance(value, Zeros):
        return value
    if not isinstance(value, Steps | Final):
        return node.no("takes axes from what is no sequence")
    ones = [i for i, axis in enumerate(value.axes) if all(atom.size == 1 for atom in axis)]
    gone = {axis % len(value.axes) for axis in axes} if axes is not None else set(ones)
    if not gone <= set(ones):
        return node.no("takes away an axis that need not have length 1")
    return replace(value, axes=tuple(axis for i, axis in enumerate(value.axes) if i not in gone))


def taken(node: Node, value: Steps | Final, index: Any, axis: int) -> Value:
    """One entry of an axis, or several: of states these states, of a sequence its last step."""
    flat, scalar = [int(i) for i in np.ravel(index)], np.ndim(index) == 0
    if np.ndim(index) > 1 or (scalar and len(flat) != 1):
        return node.no("picks entries of an axis")
    return _cut(node, value, axis, flat, scalar)


def slice_(node: Node) -> Value | None:
    """A part of an axis."""
    value = node.inputs[0]
    starts, ends, axes, steps = (
        node.numbers(i, name) for i, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    if isinstance(value, Zeros):
        return value
    if starts is None or ends is None or (len(node.inputs) > 3 and node.inputs[3] and axes is None):
        return node.no("cuts at what is not known from the file")
    axes = list(range(len(starts))) if axes is None else axes
    if isinstance(value, Sizes):
        entries = np.arange(len(value.entries))
        return picked(value, entries[starts[0] : ends[0] : (steps or [1])[0]])
    if not isinstance(value, Steps | Final):
        return node.no("cuts what is no sequence")
    found: Value = value
    for i, (start, end, axis) in enumerate(zip(starts, ends, axes, strict=True)):
        assert isinstance(found, Steps | Final)
        number = axis_of(value.axes, axis)
        group = found.axes[number]
        size = group[0].size if len(group) == 1 else None
        step = steps[i] if steps else 1
        if start == 0 and step == 1 and end >= 2**31 - 1:
            continue
        if size is None and (start, step) == (-1, 1) and end >= 2**31 - 1:
            found = _cut(node, found, number, [-1], scalar=False)
        elif size is None and group and isinstance(found, Steps) and found.untouched:
            part: Axis = (Atom(f"{group[0].name}[{start}:{end}]", None, whole=False),)
            found = replace(found, axes=(*found.axes[:number], part, *found.axes[number + 1 :]))
        elif size is None:
            return node.no("cuts a free axis")
        else:
            found = _cut(node, found, number, list(range(size))[start:end:step], scalar=False)
        if not isinstance(found, Steps | Final):
            return found
    return found


def split(node: Node) -> Value | list[Value] | None:
    """The parts of an axis."""
    value = node.inputs[0]
    if isinstance(value, Zeros):
        return [value] * node.count
    axis = node.attributes.get("axis", 0)
    if not isinstance(value, Steps | Final):
        return node.no("cuts what is no sequence")
    number = axis_of(value.axes, axis)
    size = value.axes[number][0].size if len(value.axes[number]) == 1 else None
    if size is None:
        return node.no("cuts a free axis")
    sizes = node.numbers(1, "split")
    if sizes is None:
        each = -(-size // node.count)
        sizes = [min(each, size - i * each) for i in range(node.count)]
    ends = np.cumsum(sizes)
    return [
        _cut(node, value, number, list(range(end - part, end)), scalar=False)
        for end, part in zip(ends.tolist(), sizes, strict=True)
    ]


def _cut(node: Node, value: Steps | Final, axis: int, index: list[int], scalar: bool) -> Value:
    """These entries of an axis; with ``scalar`` the axis is gone."""
    group = value.axes[axis]
    if len(group) != 1:
        return node.no("cuts merged axes")
    (atom,) = group
    if atom.size is not None:
        if any(not -atom.size <= i < atom.size for i in index):
            return node.no("picks what is not there")
        index = [i % atom.size for i in index]
        if index == list(range(atom.size)) and not scalar:
            return value
    new: Any = () if scalar else ((Atom("states", len(index)),),)
    axes = (*value.axes[:axis], *new, *value.axes[axis + 1 :])
    if isinstance(value, Final):
        if atom.name != "states":
            return node.no("cuts final states in pieces")
        return replace(value, axes=axes, rows=tuple(value.rows[i] for i in index))
    if value.untouched:
        name = f"{atom.name}{index}"
        part: Any = () if scalar else ((Atom(name, len(index), whole=False),),)
        return replace(value, axes=(*value.axes[:axis], *part, *value.axes[axis + 1 :]))
    if not value.settled or atom.name != value.time or len(index) != 1:
        return node.no("cuts a part out of the sequence")
    return _last_step(node, value, axis, index[0], atom.size, scalar)


def _last_step(
    node: Node, steps: Steps, axis: int, index: int, size: int | None, scalar: bool
) -> Value:
    """The step at which all of a row has been read."""
    over = [part.layer for part in steps.parts if isinstance(part.layer, Recurrent | Bidirectional)]
    top = over[-1]
    last = index == -1 or (size is not None and index == size - 1)
    if steps.lengths:
        return node.no("takes one step of rows with lengths of their own, which may be padding")
    ends = isinstance(top, Recurrent) and (index == 0 if top.reverse else last)
    if not ends or any(part.pooling for part in steps.parts):
        return node.no("takes a step at which the layer below has not read the whole sequence")
    kept: Any = () if scalar else ((Atom("", 1),),)
    return replace(
        steps,
        axes=(*steps.axes[:axis], *kept, *steps.axes[axis + 1 :]),
        parts=(*steps.parts, Part(None, {}, "last")),
    )


def concatenated(node: Node, values: list[Any], axis: int) -> Value:
    """Final states of several nodes, or those of both directions side by side."""
    first: Final = values[0]
    axis = axis_of(first.axes, axis)
    rows = tuple(row for value in values for row in value.rows)
    names = [tuple(atom.name for atom in group) for group in first.axes]
    if any([tuple(a.name for a in g) for g in v.axes] != names for v in values):
        return node.no("joins states of different shapes")
    others = first.axes[:axis], first.axes[axis + 1 :]
    if names[axis] == ("states",):
        size = sum(value.axes[axis][0].size or 0 for value in values)
        joint: Axis = (Atom("states", size),)
    elif names[axis] == ("units",) and all(len(value.rows) == 1 for value in values):
        joint = (Atom("states", len(values)), *first.axes[axis])
    else:
        return node.no("joins states along another axis than theirs")
    return replace(first, axes=(*others[0], joint, *others[1]), rows=rows)
