"""Rules for what rearranges, reduces, multiplies or looks up arrays."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from rnn_jax.export.onnx.graph import dimension
from rnn_jax.export.onnx.rules import Rule, Unsupported, Writer, dtype_of, shapes_of

__all__ = [
    "arg",
    "concatenate",
    "cumsum",
    "dot",
    "expand_dims",
    "gather",
    "iota",
    "pad",
    "reduce",
    "reduce_bool",
    "reshape",
    "rev",
    "size",
    "slice_",
    "sliced",
    "split",
    "squeeze",
    "stack",
    "transpose",
]


def reshape(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """The same elements in another shape."""
    if eqn.params.get("dimensions") is not None:
        raise Unsupported("reshape in another order")
    (before,), after = shapes_of(eqn), tuple(eqn.outvars[0].aval.shape)
    ones = [i for i, size in enumerate(after) if size == 1]
    if tuple(size for i, size in enumerate(after) if i not in ones) == before:
        return w.graph.add("Unsqueeze", *operands, w.graph.integers(*ones)) if ones else operands[0]
    free = [i for i, size in enumerate(after) if isinstance(dimension(size), str)]
    if len(free) == 1:  # a file has a place for one size that follows from the others
        sizes = (-1 if i in free else int(size) for i, size in enumerate(after))
        return w.graph.add("Reshape", *operands, w.graph.integers(*sizes))
    return w.graph.add("Reshape", *operands, w.shape(after))


def squeeze(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """Without some axes of size 1."""
    return w.graph.add("Squeeze", *operands, w.graph.integers(*eqn.params["dimensions"]))


def expand_dims(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """With more axes of size 1."""
    return w.graph.add("Unsqueeze", *operands, w.graph.integers(*eqn.params["dimensions"]))


def transpose(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """Axes in another order."""
    return w.graph.add("Transpose", *operands, perm=[int(i) for i in eqn.params["permutation"]])


def split(w: Writer, eqn: Any, operands: tuple[str, ...]) -> tuple[str, ...]:
    """Pieces along one axis."""
    sizes = [int(size) for size in eqn.params["sizes"]]
    axis, count = int(eqn.params["axis"]), len(sizes)
    return w.graph.add_many("Split", *operands, w.graph.integers(*sizes), outputs=count, axis=axis)


def concatenate(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """Arrays one behind the other."""
    return w.graph.add("Concat", *operands, axis=int(eqn.params["dimension"]))


def stack(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """Arrays along a new axis."""
    axis = int(eqn.params["axis"])
    each = [w.graph.add("Unsqueeze", x, w.graph.integers(axis)) for x in operands]
    return w.graph.add("Concat", *each, axis=axis)


def sliced(w: Writer, x: str, starts: Any, ends: Any, axes: Any, steps: Any = None) -> str:
    """A Slice; bounds are values or numbers."""
    cuts = [starts, ends, axes, *([] if steps is None else [steps])]
    names = [cut if isinstance(cut, str) else w.graph.integers(*map(int, cut)) for cut in cuts]
    return w.graph.add("Slice", x, *names)


def slice_(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """A piece of each axis, at strides."""
    (x,), (shape,), p = operands, shapes_of(eqn), eqn.params
    steps = p["strides"] or (1,) * len(shape)
    cuts = zip(p["start_indices"], p["limit_indices"], steps, shape, strict=True)
    axes = [i for i, (*cut, size) in enumerate(cuts) if cut != [0, size, 1]]
    if not axes:
        return x
    starts = w.shape(tuple(p["start_indices"][i] for i in axes))
    ends = w.shape(tuple(p["limit_indices"][i] for i in axes))
    return sliced(w, x, starts, ends, axes, [steps[i] for i in axes])


def rev(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """Some axes from the last element to the first."""
    axes = eqn.params["dimensions"]
    lowest = [np.iinfo(np.int64).min] * len(axes)
    return sliced(w, operands[0], [-1] * len(axes), lowest, axes, [-1] * len(axes))


def pad(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """More elements at the ends of axes."""
    config = eqn.params["padding_config"]
    if any(low < 0 or high < 0 or within for low, high, within in config):
        raise Unsupported("pad between elements or by a negative number")
    pads = w.graph.integers(*(c[0] for c in config), *(c[1] for c in config))
    return w.graph.add("Pad", operands[0], pads, operands[1])


def iota(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """0, 1, … along one axis."""
    shape, axis, dtype = eqn.params["shape"], eqn.params["dimension"], dtype_of(eqn)
    g = w.graph
    size = g.add("Squeeze", w.shape((shape[axis],)), g.integers(0))
    counted = g.cast(g.add("Range", g.constant(np.int64(0)), size, g.constant(np.int64(1))), dtype)
    others = [i for i in range(len(shape)) if i != axis]
    if not others:
        return counted
    return g.add("Expand", g.add("Unsqueeze", counted, g.integers(*others)), w.shape(shape))


def reduce(op: str) -> Rule:
    """A sum, a product or an extreme over axes."""

    def rule(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
        if np.dtype(eqn.invars[0].aval.dtype).kind not in "if":
            raise Unsupported(f"{eqn.primitive} of {eqn.invars[0].aval.dtype}")
        return w.graph.reduce(op, operands[0], [int(axis) for axis in eqn.params["axes"]])

    return rule


def reduce_bool(op: str) -> Rule:
    """All or any over axes."""

    def rule(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
        axes = [int(axis) for axis in eqn.params["axes"]]
        counted = w.graph.reduce(op, w.graph.cast(operands[0], np.int32), axes)
        return w.graph.cast(counted, np.bool_)

    return rule


def arg(op: str) -> Rule:
    """Where along an axis the extreme is."""

    def rule(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
        (axis,) = eqn.params["axes"]
        found = w.graph.add(op, *operands, axis=int(axis), keepdims=0)
        return w.graph.cast(found, dtype_of(eqn))

    return rule


def cumsum(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """Sums of all elements up to each."""
    axis = w.graph.constant(np.array(eqn.params["axis"], np.int64))
    return w.graph.add("CumSum", *operands, axis, reverse=int(eqn.params["reverse"]))


def dot(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """A product over some axes: a MatMul where it is one."""
    (contracted, batched), shapes = eqn.params["dimension_numbers"], shapes_of(eqn)
    (left,), (right,) = contracted if all(len(c) == 1 for c in contracted) else ((None,), (None,))
    if not batched[0] and len(shapes[1]) == 2 and (left, right) == (len(shapes[0]) - 1, 0):
        return w.graph.add("MatMul", *operands)
    letters = iter(string.ascii_letters)
    one = [next(letters) for _ in shapes[0]]
    two = [next(letters) for _ in shapes[1]]
    for pairs in (contracted, batched):
        for i, j in zip(*pairs, strict=True):
            two[j] = one[i]
    shared = [one[i] for i in batched[0]]
    gone = {one[i] for i in contracted[0]}
    rest = [letter for letter in (*one, *two) if letter not in gone and letter not in shared]
    equation = f"{''.join(one)},{''.join(two)}->{''.join(shared + rest)}"
    return w.graph.add("Einsum", *operands, equation=equation)


def whole_number(size: Any) -> int:
    """A size that the file can hold as a number."""
    if isinstance(dimension(size), str):
        raise Unsupported(f"a piece of a free size, {size}")
    return int(size)


def gather(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """Rows that ids select, or a slice; anything else that a gather can be is refused."""
    d, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    shape, indexed = shapes_of(eqn)
    if getattr(d, "operand_batching_dims", ()) or len(d.start_index_map) != 1:
        raise Unsupported("gather along several axes, as take_along_axis does")
    (axis,), g, mode = d.start_index_map, w.graph, str(eqn.params["mode"])
    whole = all(sizes[i] == shape[i] for i in range(len(shape)) if i != axis)
    x, index = operands
    if not whole:
        raise Unsupported("gather of parts of several axes")
    if len(indexed) == 1:  # one place
        if "FILL" in mode or "CLIP" in mode:
            raise Unsupported("gather from a place that may lie outside")
        if (place := g.value_of(index)) is not None:
            starts: Any = [int(place[0])]
            ends: Any = [starts[0] + whole_number(sizes[axis])]
        else:
            starts = g.cast(index, np.int64)
            ends = g.add("Add", starts, g.integers(whole_number(sizes[axis])))
        cut = sliced(w, x, starts, ends, [axis])
        collapsed = d.collapsed_slice_dims
        return g.add("Squeeze", cut, g.integers(*collapsed)) if collapsed else cut
    among = tuple(range(axis)) + tuple(i + len(indexed) - 1 for i in range(axis, len(shape) - 1))
    if tuple(d.collapsed_slice_dims) != (axis,) or tuple(d.offset_dims) != among:
        raise Unsupported("gather of pieces at many places")
    index = g.add("Squeeze", index, g.integers(len(indexed) - 1))
    if "FILL" not in mode and "CLIP" not in mode:
        return g.add("Gather", x, index, axis=axis)
    size = whole_number(shape[axis])
    zero, end = (g.constant(np.array(n, eqn.invars[1].aval.dtype)) for n in (0, size))
    if "CLIP" in mode:
        last_place = g.add("Sub", end, g.constant(np.array(1, eqn.invars[1].aval.dtype)))
        index = g.add("Min", g.add("Max", index, zero), last_place)
        return g.add("Gather", x, index, axis=axis)
    inside = g.add("And", g.add("GreaterOrEqual", index, zero), g.add("Less", index, end))
    rows = g.add("Gather", x, g.add("Where", inside, index, zero), axis=axis)
    last = [i for i in range(len(shape) + len(indexed) - 2) if i in among]
    inside = g.add("Unsqueeze", inside, g.integers(*last))
    fill = eqn.params["fill_value"]
    if fill is None:
        fill = np.nan if dtype_of(eqn).kind == "f" else np.iinfo(dtype_of(eqn)).min
    return g.add("Where", inside, rows, g.constant(np.array(fill, dtype_of(eqn))))


def size(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """A size that is free, as a number."""
    size = w.graph.add("Squeeze", w.shape((eqn.params["dim"],)), w.graph.integers(0))
    return w.graph.cast(size, dtype_of(eqn))
