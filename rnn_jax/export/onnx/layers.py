"""Layers as nodes: one function a class, and tracing for a class that has none here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.cells.layer_norm import EPSILON
from rnn_jax.export.onnx.flow import Flow, Stream
from rnn_jax.export.onnx.graph import joined
from rnn_jax.export.onnx.nodes import Direction, direction_of, recurrence
from rnn_jax.export.onnx.rules import Unsupported
from rnn_jax.export.onnx.translate import struct, translate
from rnn_jax.export.reads import bare
from rnn_jax.layers import (
    ActivationPenalty,
    Bidirectional,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Recurrent,
    Residual,
    Serial,
)
from rnn_jax.layers.activation_penalty import without_penalties
from rnn_jax.types import Carry, Params

__all__ = ["layer_nodes", "merged", "traced"]

Results = tuple[Carry, Stream]  # the new carry, a tree of values, and the outputs


def layer_nodes(
    flow: Flow, layer: Any, params: Params, carry: Carry, xs: Stream, path: str
) -> Results:
    """A layer over a sequence, without noise.

    Args:
      flow: where it goes.
      layer: a `Layer`.
      params: its parameters.
      carry: its carry, a tree of values ``[B, …]``.
      xs: its input.
      path: where its parameters stand, for names.

    Raises:
      Unsupported: something in it has no operator.
    """
    layer = bare(layer)
    write: Callable[..., Results] = _WRITTEN.get(
        type(layer), traced
    )  # a class of one's own may compute something else
    return write(flow, layer, params, carry, xs, path)


def _recurrent(
    flow: Flow, layer: Recurrent, params: Params, carry: Carry, xs: Stream, path: str
) -> Results:
    direction = direction_of(layer.cell, params)
    if direction is None:
        return traced(flow, layer, params, carry, xs, path)
    value, direction = _entered(flow, direction, xs, path)
    leaves, tree = jax.tree.flatten(carry)
    (new,), ys = recurrence(
        flow.graph, [direction], value, [leaves], flow.lengths, reverse=layer.reverse, path=path
    )
    return jax.tree.unflatten(tree, new), Stream(ys, direction.r.shape[1], filled=True)


def _entered(flow: Flow, direction: Direction, xs: Stream, path: str) -> tuple[str, Direction]:
    """What a recurrent operator reads in the place of ids, which are one-hot vectors."""
    if not xs.ids:
        return xs.value, direction
    if _fits_one_hot(direction):
        return flow.one_hot(xs, direction.w.shape[1]), direction
    # The rows that ids select are shorter than one-hot vectors: the input product is done.
    table = flow.graph.constant(direction.w.T, joined(path, "w_ih"))
    rows = flow.graph.add("Gather", table, flow.ids_below(xs, direction.w.shape[1]))
    return rows, dataclasses.replace(direction, w=np.eye(len(direction.w), dtype=np.float32))


def _fits_one_hot(direction: Direction) -> bool:
    return direction.w.shape[1] <= direction.w.shape[0]


def _bidirectional(
    flow: Flow, layer: Bidirectional, params: Params, carry: Carry, xs: Stream, path: str
) -> Results:
    names = ("forward", "backward")
    halves = [bare(getattr(layer, name)) for name in names]
    packed = [
        direction_of(half.cell, params[name]) if type(half) is Recurrent else None
        for half, name in zip(halves, names, strict=True)
    ]
    both = [direction for direction in packed if direction is not None]
    if len(both) == 2 and both[0].beside(both[1]) and (not xs.ids or _fits_one_hot(both[0])):
        return _one_node(flow, layer, both, carry, xs, path)
    outputs, after = [], []
    for half, name, own in zip(halves, names, carry, strict=True):
        new, ys = layer_nodes(flow, half, params[name], own, xs, joined(path, name))
        after.append(new)
        outputs.append(flow.filled(ys))
    return tuple(after), merged(flow, layer, outputs)


def _one_node(
    flow: Flow, layer: Bidirectional, both: list[Direction], carry: Carry, xs: Stream, path: str
) -> Results:
    """Both directions as one recurrent node."""
    g, size = flow.graph, both[0].r.shape[1]
    value, _ = _entered(flow, both[0], xs, path)
    leaves, trees = zip(*map(jax.tree.flatten, carry), strict=True)
    new, ys = recurrence(g, both, value, leaves, flow.lengths, reverse=False, path=path)
    after = tuple(map(jax.tree.unflatten, trees, new))
    if layer.merge == "concat":
        return after, Stream(ys, 2 * size, filled=True)
    parts = g.add_many("Split", ys, g.integers(size, size), outputs=2, axis=2)
    return after, Stream(g.add("Add", *parts), size, filled=True)


def merged(flow: Flow, layer: Bidirectional, outputs: list[Stream]) -> Stream:
    """The outputs of both directions as one."""
    ahead, back = (ys.value for ys in outputs)
    if layer.merge == "sum":
        value, size = flow.graph.add("Add", ahead, back), outputs[0].size
    else:
        value = flow.graph.add("Concat", ahead, back, axis=-1)
        size = sum(ys.size for ys in outputs)
    return Stream(value, size, filled=True)


def _serial(
    flow: Flow, layer: Serial, params: Params, carry: Carry, xs: Stream, path: str
) -> Results:
    after = []
    for i, part in enumerate(layer.layers):
        own = params.get(str(i), {})
        new, xs = layer_nodes(flow, part, own, carry[i], xs, joined(path, str(i)))
        after.append(new)
    return tuple(after), xs


def _same(flow: Flow, layer: Any, params: Params, carry: Carry, xs: Stream, path: str) -> Results:
    return (), flow.filled(xs)


def _embedding(
    flow: Flow, layer: Embedding, params: Params, carry: Carry, xs: Stream, path: str
) -> Results:
    table = params["embedding"]
    rows = _rows(flow, table, xs, joined(path, "embedding"))
    return (), flow.filled(Stream(rows, table.shape[1]))


def _rows(flow: Flow, table: Any, xs: Stream, name: str) -> str:
    return flow.graph.add(
        "Gather", flow.graph.constant(table, name), flow.ids_below(xs, table.shape[0])
    )


def _linear(
    flow: Flow, layer: Linear, params: Params, carry: Carry, xs: Stream, path: str
) -> Results:
    g, w = flow.graph, params["w"]
    if xs.ids:
        ys = _rows(flow, w, xs, joined(path, "w"))
    else:
        ys = g.add("MatMul", flow.filled(xs).value, g.constant(w, joined(path, "w")))
    if "b" in params:
        ys = g.add("Add", ys, g.constant(params["b"], joined(path, "b")))
    return (), flow.filled(Stream(ys, w.shape[1]))


def _layer_norm(
    flow: Flow, layer: LayerNorm, params: Params, carry: Carry, xs: Stream, path: str
) -> Results:
    names = [name for name in ("gain", "b") if name in params]
    vectors = [flow.graph.constant(params[name], joined(path, name)) for name in names]
    how = {"axis": -1, "epsilon": EPSILON}
    ys = flow.graph.add("LayerNormalization", xs.value, *vectors, name=path, **how)
    return (), flow.filled(Stream(ys, xs.size))


def _residual(
    flow: Flow, layer: Residual, params: Params, carry: Carry, xs: Stream, path: str
) -> Results:
    carry, ys = layer_nodes(flow, layer.layer, params, carry, xs, path)
    xs = flow.filled(xs)
    return carry, Stream(flow.graph.add("Add", xs.value, ys.value), xs.size, filled=ys.filled)


_WRITTEN: dict[type, Callable[..., Results]] = {
    ActivationPenalty: _same,
    Bidirectional: _bidirectional,
    Dropout: _same,
    Embedding: _embedding,
    LayerNorm: _layer_norm,
    Linear: _linear,
    Recurrent: _recurrent,
    Residual: _residual,
    Serial: _serial,
}


def traced(flow: Flow, layer: Any, params: Params, carry: Carry, xs: Stream, path: str) -> Results:
    """A layer by what its ``apply`` does, step by step where it is recurrent."""
    plain: Any = _step_by_step(without_penalties(layer))
    sizes, g = flow.sizes, flow.graph
    leaves, tree = jax.tree.flatten(carry)
    like = jax.tree.leaves(jax.eval_shape(lambda: layer.initial_carry((1,), params)))
    shapes = [struct((sizes.B, *c.shape[1:]), c.dtype) for c in like]
    if any(jnp.iscomplexobj(c) for c in like):
        raise Unsupported(f"{_named(layer)}, whose carry is of complex numbers")
    features: tuple[int, ...] = (xs.size,)
    value, dtype = xs.value, jnp.dtype(jnp.float32)
    if xs.ids:  # in the 32 bits that JAX reads
        features = ()
        value = g.cast(flow.checked_ids(xs, xs.size), np.int32)
        dtype = jnp.dtype(jnp.int32)
    shapes.append(struct((sizes.T, sizes.B, *features), dtype))
    values = [*leaves, value]
    if flow.lengths is not None:
        shapes.append(struct((sizes.T, sizes.B), bool))
        values.append(flow.mask)

    def function(*arrays: Any) -> tuple[Any, ...]:
        before = jax.tree.unflatten(tree, arrays[: len(leaves)])
        mask = arrays[-1] if flow.lengths is not None else None
        after, ys = plain.apply(params, before, arrays[len(leaves)], mask=mask)
        return (*jax.tree.leaves(after), ys)

    try:
        *after, ys = translate(g, sizes, function, shapes, values)
    except Unsupported as error:
        raise Unsupported(f"{_named(layer)}, which computes {error}") from None
    size = layer.output_size or xs.size
    return jax.tree.unflatten(tree, after), Stream(ys, size, filled=type(layer) is Recurrent)


def _named(layer: Any) -> str:
    what, part = ("cell", layer.cell) if type(layer) is Recurrent else ("layer", layer)
    return f"the {what} {type(part).__name__}"


def _step_by_step(value: Any) -> Any:
    """A layer whose recurrences take one step after the other, which Scan is."""
    if isinstance(value, tuple):
        return tuple(map(_step_by_step, value))
    if isinstance(value, Recurrent):
        return dataclasses.replace(value, backend="scan")
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    changed = {name: _step_by_step(part) for name, part in fields.items()}
    if all(changed[name] is part for name, part in fields.items()):
        return value
    return dataclasses.replace(value, **changed)
