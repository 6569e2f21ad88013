"""What is known of a tensor of an ONNX graph before any numbers have gone through it.

Axes are tracked by name, through transposes and reshapes: that a graph computes what a layer does
is then shown, not guessed from which nodes there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np

from rnn_jax.interop.parts import Part
from rnn_jax.interop.weights import Weights
from rnn_jax.types import Layer, Params

__all__ = [
    "Atom",
    "Axis",
    "Condition",
    "Final",
    "Known",
    "Order",
    "Sizes",
    "Steps",
    "Unknown",
    "Value",
    "Zeros",
    "axis_of",
    "regrouped",
]


class Atom(NamedTuple):
    """An axis as it arose; an axis of a tensor may be several of them, merged.

    name: empty for an axis of length 1 that has no meaning, and may come and go.
    size: None where the graph leaves it free.
    whole: whether it is all of it, in the order in which it arose.
    """

    name: str
    size: int | None
    whole: bool = True


Axis: TypeAlias = tuple[Atom, ...]


@dataclass(frozen=True)
class Known:
    """Numbers that stand in the file, or follow from such."""

    array: Weights


@dataclass(frozen=True)
class Zeros:
    """Zeros of a shape that is known when the graph runs; of integers, they count nothing."""


@dataclass(frozen=True)
class Sizes:
    """A shape, or part of one: numbers, and products of free axes by their names."""

    entries: tuple[int | tuple[str, ...], ...]
    scalar: bool = False


@dataclass(frozen=True)
class Steps:
    """An input of the graph, or what layers make of it.

    axes: those of the tensor.
    source: the input of the graph.
    ids: whether it is of integers.
    parts: the layers so far.
    features: the names of the atoms that are the features; empty in an input.
    width: features of the input, or ids that it may hold; 0 until a layer says so.
    vocabulary: whether the input is of ids.
    time, batch: the names of these axes; empty until a recurrent node says which they are.
    lengths: the input from which recurrent nodes have read lengths; empty: none.
    order: by which `Order` the rows of the batch are permuted; empty: by none.
    """

    axes: tuple[Axis, ...]
    source: str
    ids: bool = False
    parts: tuple[Part, ...] = ()
    features: tuple[str, ...] = ()
    width: int = 0
    vocabulary: bool = False
    time: str = ""
    batch: str = ""
    lengths: str = ""
    order: str = ""

    @property
    def untouched(self) -> bool:
        """Whether no layer has read it."""
        return not self.parts and not self.vocabulary

    @property
    def settled(self) -> bool:
        """Whether a recurrent node has said which axes are time and batch."""
        return bool(self.time or self.batch)

    @property
    def features_last(self) -> bool:
        """Whether the last axis is all features, in their order; of an input, any axis may be."""
        names = tuple(atom.name for atom in self.axes[-1])
        return all(atom.whole for atom in self.axes[-1]) and self.features in ((), names)

    def grown(self, layer: Layer, params: Params, width: int) -> Steps:
        """The same with one more layer, that reads so many features or ids."""
        parts = (*self.parts, Part(layer, params))
        return replace(self, parts=parts, width=self.width or width)


class Row(NamedTuple):
    """One direction's final state: which, of which node, and the outputs of that node."""

    kind: str
    reverse: bool
    node: str
    steps: Steps


@dataclass(frozen=True)
class Final:
    """Final states of recurrent nodes, one or several, with their axes.

    rows: in the order of the atom named "states".
    """

    axes: tuple[Axis, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Order:
    """The order of a batch sorted by its lengths, or the one that restores it."""

    name: str
    restores: bool = False


@dataclass(frozen=True)
class Condition:
    """Where ids are below 0, or lengths above it: what is asked of the input named."""

    source: str
    of_ids: bool


@dataclass(frozen=True)
class Unknown:
    """What no layer here computes, and the clause that says why."""

    why: str


Value: TypeAlias = Known | Zeros | Sizes | Steps | Final | Order | Condition | Unknown


def axis_of(axes: tuple[Axis, ...], number: int) -> int:
    """An axis counted from either end as one counted from the front."""
    return number % len(axes) if axes else number


def regrouped(
    axes: tuple[Axis, ...], shape: Known | Sizes, copies: bool
) -> tuple[Axis, ...] | None:
    """The axes after a reshape to ``shape``, or None where it tears one apart.

    copies: whether a 0 in the shape stands for the axis that is there.
    """
    entries: list[int | tuple[str, ...]]
    if isinstance(shape, Sizes):
        entries = list(shape.entries)
    else:
        entries = [int(n) for n in np.ravel(shape.array)]
    atoms = [atom for axis in axes for atom in axis if atom.name]
    wanted: list[int | tuple[str, ...] | Axis] = []
    for i, entry in enumerate(entries):
        if entry == 0 and copies and i < len(axes):
            wanted.append(tuple(atom for atom in axes[i] if atom.name))
        else:
            wanted.append(entry)
    return next(_partitions(tuple(atoms), wanted), None)


def _partitions(
    atoms: Axis, wanted: list[int | tuple[str, ...] | Axis]
) -> Iterator[tuple[Axis, ...]]:
    """The ways to cut atoms into consecutive groups of the sizes wanted."""
    if not wanted:
        if not atoms:
            yield ()
        return
    for end in (*range(1, len(atoms) + 1), 0):
        if _fits(atoms[:end], wanted[0]):
            for rest in _partitions(atoms[end:], wanted[1:]):
                yield (atoms[:end], *rest)


def _fits(group: Axis, entry: int | tuple[str, ...] | Axis) -> bool:
    if isinstance(entry, tuple):
        names = tuple(part.name if isinstance(part, Atom) else part for part in entry)
        return tuple(atom.name for atom in group) == names
    if entry == -1:
        return True
    sizes = [atom.size for atom in group]
    return None not in sizes and math.prod(size for size in sizes if size is not None) == entry
