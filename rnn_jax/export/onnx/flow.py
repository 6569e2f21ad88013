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
        """``bool[T, B]``, True within a row's length."""
        assert self.lengths is not None
        rows = self.graph.add("Unsqueeze", self.lengths, self.graph.integers(0))
        return self.graph.add("Less", self._steps, rows)

    @cached_property
    def _steps(self) -> str:
        """``int32[T, 1]``: 0, 1, …"""
        g = self.graph
        length = g.add("Squeeze", self.sizes.value("T"), g.integers(0))
        start, step = (g.constant(np.array(n, np.int64), "range") for n in (0, 1))
        steps = g.cast(g.add("Range", start, length, step), np.int32)
        return g.add("Unsqueeze", steps, g.integers(1))

    def filled(self, xs: Stream) -> Stream:
        """The sequence with zeros at padded steps."""
        if self.lengths is None or xs.filled:
            return dataclasses.replace(xs, filled=True)
        g, mask = self.graph, self.mask
        if xs.ids:
            zero = g.constant(np.array(0, np.int64), "first_id")
        else:
            mask, zero = g.add("Unsqueeze", mask, g.integers(2)), g.scalar(0)
        return dataclasses.replace(xs, value=g.add("Where", mask, xs.value, zero), filled=True)

    def ids_below(self, xs: Stream, size: int) -> str:
        """Ids for a Gather that raises an error for one outside ``0 … size-1``."""
        # By itself it counts negative ones from the end.
        g = self.graph
        ids = self.filled(xs).value
        negative = g.add("Less", ids, g.constant(np.array(0, np.int64), "first_id"))
        return g.add("Where", negative, g.constant(np.array(size, np.int64), "no_id"), ids)

    def one_hot(self, xs: Stream, size: int) -> str:
        """Ids as vectors ``float[T, B, size]``."""
        g = self.graph
        same = g.add("Gather", g.constant(np.arange(size), "ids"), self.ids_below(xs, size))
        values = g.constant(np.array([0, 1], np.float32), "off_on")
        vectors = g.add("OneHot", same, g.integers(size), values, axis=-1)
        return vectors

    def at_last(self, ys: Stream) -> str:
        """``[B, size]``: each row's output at its last step, zeros for a row without steps."""
        g, ys = self.graph, self.filled(ys)
        if self.lengths is None:
            return g.add("Gather", ys.value, g.constant(np.array(-1, np.int64), "last"), axis=0)
        one = g.constant(np.array(1, np.int32), "one")
        last = g.add("Unsqueeze", g.add("Sub", self.lengths, one), g.integers(0))
        chosen = g.add("Unsqueeze", g.add("Equal", self._steps, last), g.integers(2))
        # A sum of one value and zeros.
        values = g.add("Where", chosen, ys.value, g.scalar(0))
        return g.reduce("ReduceSum", values, [0])

    def at_first(self, ys: Stream) -> str:
        """``[B, size]``: each row's output at its first step, zeros for a row without steps."""
        g = self.graph
        first = g.constant(np.array(0, np.int64), "first_id")
        return g.add("Gather", self.filled(ys).value, first, axis=0)


def guarded(graph: Graph, xs: str, shape: tuple[int | str, ...]) -> str:
    """The sequence itself; no runtime gets any further with one of no steps or no rows.

    ONNX says nothing of such: ONNX Runtime's recurrent operators give zeros for the state, or end
    the process.
    """
    first = graph.add("Gather", xs, graph.integers(0), axis=0, name="first_of_at_least_one_step")
    rest = graph.add("Shape", first, start=1)
    whole = graph.add("Concat", graph.integers(-1), rest, axis=0)
    # Which costs nothing: it is the same memory.
    same = graph.add("Reshape", xs, whole, name="sequence")
    (dtype,) = (port.dtype for port in graph.inputs if port.name == xs)
    graph.known.append(Port(same, dtype, shape))
    return same
