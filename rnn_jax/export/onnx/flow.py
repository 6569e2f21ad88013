"""What flows through an exported network: a sequence, its padding, and how both are read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rnn_jax.export.onnx.graph import Graph, Port
from rnn_jax.export.onnx.translate import Sizes

__all__ = ["Flow", "Stream", "guarded"]


@dataclass(frozen=True)
class Stream:
    """A sequence: ``float[T, B, size]``, or ids ``int64[T, B]``.

    filled: whether it is zero at padded steps.
    """

    value: str
    size: int
    ids: bool = False
    filled: bool = False


@dataclass(frozen=True)
class Flow:
    """The graph, its free sizes, and the rows' lengths ``int32[B]``, None where all are T."""

    graph: Graph
    sizes: Sizes
    lengths: str | None

    @cached_property
    def mask(self) -> str:
        """``bool[T, B]``, True within a row's length; a length that cannot be is an error."""
        assert self.lengths is not None
        g = self.graph
        end = g.add("Add", self._length, self._number(1))
        counts = g.add("Range", self._number(0), end, self._number(1))
        lengths = g.cast(self.lengths, np.int64)
        negative = g.add("Less", lengths, self._number(0))
        lengths = g.add("Gather", counts, g.add("Where", negative, end, lengths), name="lengths")
        return g.add("Less", self._steps, g.add("Unsqueeze", lengths, g.integers(0)))

    @cached_property
    def _steps(self) -> str:
        """``int64[T, 1]``: 0, 1, …"""
        g = self.graph
        steps = g.add("Range", self._number(0), self._length, self._number(1))
        return g.add("Unsqueeze", steps, g.integers(1))

    @cached_property
    def _length(self) -> str:
        """``int64``: T."""
        return self.graph.add("Squeeze", self.sizes.value("T"), self.graph.integers(0))

    def _number(self, value: int) -> str:
        """An ``int64``."""
        return self.graph.constant(np.array(value, np.int64), "whole_number")

    def filled(self, xs: Stream) -> Stream:
        """The sequence with zeros at padded steps."""
        if self.lengths is None or xs.filled:
            return dataclasses.replace(xs, filled=True)
        g, mask = self.graph, self.mask
        if xs.ids:
            zero = self._number(0)
        else:
            mask, zero = g.add("Unsqueeze", mask, g.integers(2)), g.scalar(0)
        return dataclasses.replace(xs, value=g.add("Where", mask, xs.value, zero), filled=True)

    def ids_below(self, xs: Stream, size: int) -> str:
        """Ids for a Gather that raises an error for one outside ``0 … size-1``."""
        # By itself it counts negative ones from the end.
        g = self.graph
        ids = self.filled(xs).value
        negative = g.add("Less", ids, self._number(0))
        return g.add("Where", negative, self._number(size), ids)

    def checked_ids(self, xs: Stream, size: int) -> str:
        """Ids themselves, where an operator would not notice one outside."""
        ids = self.graph.constant(np.arange(size, dtype=np.int64), "ids")
        return self.graph.add("Gather", ids, self.ids_below(xs, size))

    def one_hot(self, xs: Stream, size: int) -> str:
        """Ids as vectors ``float[T, B, size]``."""
        g = self.graph
        same = self.checked_ids(xs, size)
        values = g.constant(np.array([0, 1], np.float32), "off_on")
        return g.add("OneHot", same, g.integers(size), values, axis=-1)

    def at_last(self, ys: Stream) -> str:
        """``[B, size]``: each row's output at its last step, zeros for a row without steps."""
        g, ys = self.graph, self.filled(ys)
        if self.lengths is None:
            return g.add("Gather", ys.value, self._number(-1), axis=0)
        last = g.add("Sub", g.cast(self.lengths, np.int64), self._number(1))
        last = g.add("Unsqueeze", last, g.integers(0))
        chosen = g.add("Unsqueeze", g.add("Equal", self._steps, last), g.integers(2))
        # A sum of one value and zeros.
        values = g.add("Where", chosen, ys.value, g.scalar(0))
        return g.reduce("ReduceSum", values, [0])

    def at_first(self, ys: Stream) -> str:
        """``[B, size]``: each row's output at its first step, zeros for a row without steps."""
        g = self.graph
        return g.add("Gather", self.filled(ys).value, self._number(0), axis=0)


def guarded(graph: Graph, xs: str, shape: tuple[int | str, ...]) -> str:
    """The sequence itself; no runtime gets any further with one of no steps or no rows.

    ONNX does not say what its recurrent operators then do; ONNX Runtime's do not keep the state.
    """
    first = graph.add("Gather", xs, graph.integers(0), axis=0, name="first_of_at_least_one_step")
    rest = graph.add("Shape", first, start=1)
    whole = graph.add("Concat", graph.integers(-1), rest, axis=0)
    # Which costs nothing: it is the same memory.
    same = graph.add("Reshape", xs, whole, name="sequence")
    (dtype,) = (port.dtype for port in graph.inputs if port.name == xs)
    graph.known.append(Port(same, dtype, shape))
    return same
