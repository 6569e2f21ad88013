"""An ONNX graph while it is built: nodes, initialisers and names, each written once."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Graph", "Node", "Port", "dimension", "joined"]


class Node(NamedTuple):
    """One operator; an attribute may be a `Graph`, as the body of a Scan is."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    name: str


class Port(NamedTuple):
    """An input or output of a graph: its name, NumPy dtype and shape, where a string is free."""

    name: str
    dtype: np.dtype
    shape: tuple[int | str, ...]


@dataclass
class _Shared:
    """What a graph has in common with its bodies."""

    float_dtype: np.dtype
    opset: int
    used: dict[str, int] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    by_value: dict[Hashable, str] = field(default_factory=dict)
    by_object: dict[int, tuple[Any, str]] = field(default_factory=dict)


class Graph:
    """Nodes in the order in which they are added. Values are known by their names.

    A node that does what another one has done, here or in a graph around this one, is not added
    again. Arrays of equal values are one initialiser, of the outermost graph.

    Args:
      float_dtype: what every array and operator of float32 is written as.
      opset: the version of ONNX's operators.
      parent: the graph around this one, whose values it sees.
    """

    def __init__(self, float_dtype: Any, opset: int, parent: Graph | None = None) -> None:
        own = _Shared(np.dtype(float_dtype), opset)
        self.shared: _Shared = own if parent is None else parent.shared
        self.parent = parent
        self.nodes: list[Node] = []
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self.known: list[Port] = []  # shapes of values within, for what reads the file
        self.aliases: dict[str, str] = {}
        self._done: dict[Hashable, tuple[str, ...]] = {}

    @property
    def root(self) -> Graph:
        """The outermost graph."""
        return self if self.parent is None else self.parent.root

    @property
    def opset(self) -> int:
        """The version of ONNX's operators."""
        return self.shared.opset

    @property
    def float_dtype(self) -> np.dtype:
        """What float32 is written as."""
        return self.shared.float_dtype

    def body(self) -> Graph:
        """A new graph inside this one."""
        return Graph(self.float_dtype, self.opset, self)

    def dtype(self, dtype: Any) -> np.dtype:
        """What a dtype of ours is written as."""
        return self.float_dtype if np.dtype(dtype) == np.float32 else np.dtype(dtype)

    def unique(self, hint: str) -> str:
        """A name that no value has yet."""
        used = self.shared.used
        used[hint] = used.get(hint, 0) + 1
        return hint if used[hint] == 1 else self.unique(f"{hint}_{used[hint]}")

    def input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> str:
        """One more input of this graph; its name is kept."""
        port = Port(self.unique(name), np.dtype(dtype), tuple(shape))
        self.inputs.append(port)
        return port.name

    def output(self, value: str, dtype: Any, shape: Sequence[int | str], name: str = "") -> None:
        """One more output: a value made by a node of this graph, under a name of its own."""
        taken = {port.name for port in self.outputs}
        if value in taken or not any(value in node.outputs for node in self.nodes):
            copy = self.unique(name or "copy")  # an output is made here, and once
            self.nodes.append(Node("Identity", (value,), (copy,), {}, copy))
            value = copy
        elif name:
            self.aliases[value] = name
        self.outputs.append(Port(value, np.dtype(dtype), tuple(shape)))

    def constant(self, array: Any, hint: str = "constant") -> str:
        """An array as an initialiser; one of float32 in the graph's own float dtype."""
        shared = self.shared
        if id(array) in shared.by_object:
            return shared.by_object[id(array)][1]
        values = np.asarray(array)
        # Little-endian and in C order, as the file has it; 0-dimensional arrays stay so.
        values = np.array(values, self.dtype(values.dtype), order="C", copy=None)
        key = (values.dtype.str, values.shape, hashlib.blake2b(values.tobytes()).digest())
        if key not in shared.by_value:
            name = shared.by_value[key] = self.unique(hint)
            shared.arrays[name] = values
        shared.by_object[id(array)] = (array, shared.by_value[key])  # keeps its id from reuse
        return shared.by_value[key]

    def value_of(self, name: str) -> np.ndarray | None:
        """The array that a name stands for; None for what a file computes."""
        return self.shared.arrays.get(name)

    def integers(self, *values: int) -> str:
        """``int64`` numbers, as shapes and axes are."""
        return self.constant(np.array(values, np.int64), "integers")

    def scalar(self, value: float) -> str:
        """A number of the graph's float dtype."""
        return self.constant(np.array(value, self.float_dtype), "number")

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """One more node, to its first output."""
        return self.add_many(op, *inputs, outputs=1, name=name, **attributes)[0]

    def add_many(
        self, op: str, *inputs: str, outputs: int, name: str = "", **attributes: Any
    ) -> tuple[str, ...]:
        """One more node, to all of its outputs."""
        key = None
        if not any(isinstance(value, Graph) for value in attributes.values()):
            key = (op, inputs, outputs, repr(sorted(attributes.items())))
            if (found := self._find(key)) is not None:
                return found
        hint = name or op.lower()
        results = tuple(self.unique(hint) for _ in range(outputs))
        self.nodes.append(Node(op, inputs, results, attributes, results[0]))
        if key is not None:
            self._done[key] = results
        return results

    def _find(self, key: Hashable) -> tuple[str, ...] | None:
        if key in self._done:
            return self._done[key]
        return None if self.parent is None else self.parent._find(key)

    def reduce(self, op: str, value: str, axes: Sequence[int]) -> str:
        """A ReduceSum, ReduceMax, … over axes, which then are gone."""
        if self.opset < (13 if op == "ReduceSum" else 18):  # they were an attribute before
            return self.add(op, value, axes=list(axes), keepdims=0)
        return self.add(op, value, self.integers(*axes), keepdims=0)

    def prune(self) -> set[str]:
        """Drop what no output needs; the names that are needed from outside."""
        needed = {port.name for port in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if needed.isdisjoint(node.outputs):
                continue
            kept.append(node)
            needed.update(node.inputs)
            for value in node.attributes.values():
                if isinstance(value, Graph):
                    needed |= value.prune()
        self.nodes = kept[::-1]
        if self.parent is None:
            arrays = self.shared.arrays
            self.shared.arrays = {name: arrays[name] for name in arrays if name in needed}
        own = {port.name for port in self.inputs}
        return needed - own.union(*(node.outputs for node in self.nodes))

    def cast(self, value: str, dtype: Any) -> str:
        """The value in another dtype of ours."""
        return self.add("Cast", value, to=self.dtype(dtype))


def dimension(size: Any) -> int | str:
    """A size of a shape as a file states it: a number, or a name that stands for any.

    Example:
      >>> dimension(3), dimension("T")
      (3, 'T')
    """
    try:
        return int(size)
    except Exception:  # what JAX raises for a size that is free differs between its versions
        return str(size)


def joined(path: str, name: str) -> str:
    """A name within what stands at a path.

    Example:
      >>> joined("", "layer"), joined("layer", "0")
      ('layer', 'layer.0')
    """
    return f"{path}.{name}" if path else name
