"""Layers and models from the parameter trees of Flax's checkpoints, without the modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnn_jax.interop.flax import LAYOUTS, flax_cell
from rnn_jax.interop.parts import Part, joined
from rnn_jax.interop.weights import owned
from rnn_jax.layers.bidirectional import Bidirectional, bidirectional
from rnn_jax.layers.embedding import embedding
from rnn_jax.layers.linear import linear
from rnn_jax.layers.recurrent import Recurrent, recurrent
from rnn_jax.types import Array, Layer, Model, Params

__all__ = ["from_flax_tree"]


def from_flax_tree(
    tree: Any,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    pooling: str | None = None,
) -> tuple[Layer | Model, Params]:
    """A layer or a model, and its parameters, from the parameter tree of a Flax checkpoint.

    The tree is that of linen's ``variables`` or their "params", or of nnx:
    ``nnx.to_pure_dict(nnx.state(module, nnx.Param))``, as Orbax restores them. The cells of
    `from_flax` are told by the names and shapes in it, under any names of modules: one cell, or the
    ``forward_rnn`` and ``backward_rnn`` of nnx's Bidirectional. Beside it may stand an Embed below
    and a Dense or Linear above, told by their shapes; with a read-out, the tree becomes a model:
    of ids with as many outputs a ``language_model``, else a ``sequence_tagger``, or a
    ``sequence_classifier`` with ``pooling``.

    A tree of several cells does not say how they are joined: convert each by its own part of it.

    Args:
      tree: nested dicts of arrays.
      activation: of a SimpleCell, which the tree does not say.
      pooling: "last", "mean" or "max", what a classifier reads; which the tree does not say.

    Returns:
      ``(layer, params)``, or ``(model, params)``.

    Raises:
      ValueError: something else stands in the tree, or several of a kind.

    Example:
      >>> import jax, rnn_jax
      >>> from rnn_jax.interop import to_flax
      >>> cell = rnn_jax.gru(4)
      >>> tree = {"params": {"rnn": {"cell": to_flax(cell, cell.init(jax.random.key(0), 3))}}}
      >>> layer, params = from_flax_tree(tree)
      >>> layer == rnn_jax.recurrent(cell)
      True
    """
    _check(tree, "")
    found = list(_modules(tree, ""))
    by_kind: dict[str, list[tuple[str, Part]]] = {"cell": [], "table": [], "map": []}
    for path, kind, node in found:
        by_kind[kind].append((path, _part(kind, node, activation, path)))
    for kind, members in by_kind.items():
        if len(members) > 1 or (kind == "cell" and not members):
            names = ", ".join(path for path, _ in members) or "none"
            what = {"cell": "recurrent cells", "table": "embeddings", "map": "linear maps"}[kind]
            raise ValueError(
                f"the tree should hold one module of a kind, but its {what} are {names}: pass the "
                "part of it that is one cell, or a model of one"
            )
    ((_, cell),) = by_kind["cell"]
    parts = [*(part for _, part in by_kind["table"]), cell]
    width = int(np.shape(_first(parts[0].params))[0])
    if pooling is not None:
        if pooling not in ("last", "mean", "max"):
            raise ValueError(f"pooling must be 'last', 'mean' or 'max', not {pooling!r}")
        parts.append(Part(None, {}, pooling))
    parts += [part for _, part in by_kind["map"]]
    sizes = [_sizes(part) for part in parts if part.layer is not None]
    for (_, below), (above, _) in pairwise(sizes):
        if below != above:
            raise ValueError(
                f"a module in the tree gives {below} features and the next one reads {above}: "
                "pass the part of the tree that is one cell"
            )
    return joined(parts, width, ids=bool(by_kind["table"]))


def _first(params: Params) -> Any:
    """The array whose rows belong to the input's features or ids."""
    inner = params.get("forward", params)
    return next(inner[name] for name in ("embedding", "w_ih", "w") if name in inner)


def _sizes(part: Part) -> tuple[int, int]:
    """The features that a part reads and gives; an embedding reads ids."""
    assert part.layer is not None and part.layer.output_size is not None
    return int(np.shape(_first(part.params))[0]), part.layer.output_size


def _check(node: Any, path: str) -> None:
    """Raise unless kernels and tables are matrices, and biases vectors, of numbers."""
    for name, part in node.items() if isinstance(node, Mapping) else ():
        where = f"{path}.{name}" if path else str(name)
        if isinstance(part, Mapping) or name not in ("kernel", "embedding", "bias"):
            _check(part, where)
            continue
        array = np.asarray(part)
        rank, what = (1, "vector") if name == "bias" else (2, "matrix")
        if array.ndim != rank or not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"the tree's {where} should be a {what} of floating-point numbers, but is of shape "
                f"{array.shape} and dtype {array.dtype}"
            )


def _modules(node: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """The path, kind and tree of each module that has parameters."""
    if not isinstance(node, Mapping):
        name = path or type(node).__name__
        raise ValueError(f"the tree has {name}, which belongs to no cell, Embed or Dense")
    names = set(node)
    if _class_of(node) is not None or names == {"forward_rnn", "backward_rnn"}:
        yield path, "cell", node
    elif names == {"embedding"} and not isinstance(node["embedding"], Mapping):
        yield path, "table", node
    elif "kernel" in names and names <= {"kernel", "bias"} and not _parents(node):
        yield path, "map", node
    else:
        for name, part in node.items():
            yield from _modules(part, f"{path}.{name}" if path else str(name))


def _parents(node: Mapping[str, Any]) -> list[str]:
    """The names in it that are no arrays."""
    return [name for name, part in node.items() if isinstance(part, Mapping)]


def _class_of(node: Any) -> tuple[str, str] | None:
    """Flax's library and class of a cell, by its dense maps and their shapes."""
    if not isinstance(node, Mapping):
        return None
    for (kind, name), layout in LAYOUTS.items():
        if set(node) == {*layout.inputs, *layout.hidden, *layout.biases} and all(
            isinstance(part, Mapping) and "kernel" in part and not _parents(part)
            for part in node.values()
        ):
            rows, columns = np.shape(node[layout.hidden[-1]]["kernel"])
            gates = len(layout.hidden) if len(layout.hidden) > 1 else columns // max(rows, 1)
            wanted = {"SimpleCell": 1, "GRUCell": 3}.get(name, 4)
            if gates == wanted:
                return kind, name
    return None


def _part(kind: str, node: Any, activation: Callable[[Array], Array], path: str) -> Part:
    if kind == "table":
        table = node["embedding"]
        return Part(embedding(np.shape(table)[1]), {"embedding": owned(table)})
    if kind == "map":
        size, bias = np.shape(node["kernel"])[1], "bias" in node
        own = {"w": owned(node["kernel"]), **({"b": owned(node["bias"])} if bias else {})}
        return Part(linear(size, bias=bias), own)
    if "forward_rnn" not in node:
        known = _class_of(node)
        assert known is not None
        return Part(*flax_cell(*known, node, activation))
    halves: list[tuple[Layer, Params]] = []
    for side in ("forward_rnn", "backward_rnn"):
        inner = node[side]
        inner = inner.get("cell", inner) if isinstance(inner, Mapping) else inner
        known = _class_of(inner)
        if known is None:
            raise ValueError(f"the tree's {path}.{side} is none of the cells of from_flax")
        halves.append(flax_cell(*known, inner, activation))
    (forward, first), (backward, second) = halves
    assert isinstance(forward, Recurrent) and isinstance(backward, Recurrent)
    both: Bidirectional = bidirectional(forward, recurrent(backward.cell, reverse=True))
    return Part(both, {"forward": first, "backward": second})
