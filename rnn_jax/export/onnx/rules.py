"""What a primitive is written by: a rule, and what a rule writes with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from rnn_jax.export.onnx.graph import Graph

__all__ = ["Rule", "Unsupported", "Writer", "dtype_of", "shapes_of"]


class Unsupported(ValueError):
    """What a program of JAX holds and ONNX has no operator for."""


class Writer(Protocol):
    """What a rule writes with: the graph, and sizes that are known when the file runs."""

    graph: Graph

    def shape(self, shape: tuple[Any, ...]) -> str:
        """A shape as an ``int64`` value."""
        ...


# From the writer, an equation and its operands, whole, to its results.
Rule = Callable[[Writer, Any, tuple[str, ...]], str | tuple[str, ...]]


def dtype_of(eqn: Any) -> np.dtype:
    """The dtype of an equation's result."""
    return np.dtype(eqn.outvars[0].aval.dtype)


def shapes_of(eqn: Any) -> list[tuple[Any, ...]]:
    """The shapes of its operands."""
    return [tuple(v.aval.shape) for v in eqn.invars]
