"""A pure function of JAX as nodes of an ONNX graph, for any number of steps and rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import Literal

from rnn_jax.export.onnx.graph import Graph, dimension
from rnn_jax.export.onnx.primitives import (
    BROADCASTS,
    RULES,
    Scanned,
    called,
    is_copy,
    is_size,
    scanned,
)
from rnn_jax.export.onnx.rules import Unsupported

__all__ = ["Sizes", "struct", "translate"]

# What the operators take. Of wider and narrower floats ONNX Runtime has too few.
_DTYPES = {"bool", "float16", "float32", "int8", "int16", "int32", "int64", "uint8", "uint32"}


class Sizes:
    """The free sizes T and B: as JAX knows them in shapes, and as values of the graph.

    Args:
      graph: the outermost graph.
      sequence: its value ``[T, B, …]``.
    """

    def __init__(self, graph: Graph, sequence: str) -> None:
        self.T, self.B = export.symbolic_shape("T, B")
        self._graph, self._sequence = graph, sequence

    def value(self, name: str) -> str:
        """``int64[1]``: T or B."""
        start = {"T": 0, "B": 1}[name]
        return self._graph.add("Shape", self._sequence, start=start, end=start + 1)

    def one(self, size: Any) -> str:
        """``int64[1]``: a product of numbers, T and B."""
        factors = str(size).split("*")
        if any(not (f.isdigit() or f in ("T", "B")) for f in factors):
            raise Unsupported(f"an array of the size {size}")
        constant = math.prod(int(f) for f in factors if f.isdigit())
        values = [self.value(f) for f in factors if not f.isdigit()]
        if constant != 1:
            values.append(self._graph.integers(constant))
        result = values[0]
        for value in values[1:]:
            result = self._graph.add("Mul", result, value)
        return result

    def shape(self, shape: Sequence[Any]) -> str:
        """A whole shape as an ``int64`` value."""
        if all(isinstance(dimension(size), int) for size in shape):
            return self._graph.integers(*map(int, shape))
        parts: list[str] = []
        fixed: list[int] = []
        for size in shape:
            if isinstance(dimension(size), int):
                fixed.append(int(size))
                continue
            if fixed:
                parts.append(self._graph.integers(*fixed))
                fixed = []
            parts.append(self.one(size))
        if fixed:
            parts.append(self._graph.integers(*fixed))
        return parts[0] if len(parts) == 1 else self._graph.add("Concat", *parts, axis=0)


@dataclass(frozen=True)
class _Operand:
    """A value of the graph, or an array that is known already.

    loose: its sizes may be 1, and its axes fewer, where those of the traced array are not.
    """

    name: str = ""
    array: np.ndarray | None = None
    loose: bool = False


class _Writer:
    """Writes the equations of a jaxpr into a graph."""

    def __init__(self, graph: Graph, sizes: Sizes) -> None:
        self.graph, self.sizes = graph, sizes

    def shape(self, shape: tuple[Any, ...]) -> str:
        return self.sizes.shape(shape)

    def name(self, operand: _Operand) -> str:
        """The operand as a value of the graph."""
        if operand.array is None:
            return operand.name
        _check_dtype(operand.array.dtype)
        return self.graph.constant(operand.array)

    def whole(self, operand: _Operand, aval: Any) -> str:
        """The operand as a value of all sizes that it was traced with."""
        if not operand.loose:
            return self.name(operand)
        return self.graph.add("Expand", self.name(operand), self.shape(tuple(aval.shape)))

    def run(
        self, jaxpr: Any, consts: Sequence[Any], operands: Sequence[_Operand]
    ) -> list[_Operand]:
        """The results of a jaxpr."""
        known = dict(zip(jaxpr.constvars, map(_constant, consts), strict=True))
        known.update(zip(jaxpr.invars, operands, strict=True))

        def read(v: Any) -> _Operand:
            return _literal(v) if isinstance(v, Literal) else known[v]

        for eqn in jaxpr.eqns:
            results = self._equation(eqn, [read(v) for v in eqn.invars])
            known.update(zip(eqn.outvars, results, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _equation(self, eqn: Any, operands: list[_Operand]) -> list[_Operand]:
        for v in eqn.outvars:
            _check_dtype(v.aval.dtype)
        if (inner := called(eqn)) is not None:
            return self.run(*inner, operands)
        if is_copy(eqn):
            return operands
        if (scan := scanned(eqn)) is not None:
            return self._scan(eqn, scan, operands)
        name = str(eqn.primitive)
        if name == "broadcast_in_dim":
            return [self._broadcast(eqn, operands[0])]
        known = all(o.array is not None and not o.loose for o in operands)
        if known and _is_fixed(eqn) and not is_size(eqn):
            return _computed(eqn, [o.array for o in operands])
        if name not in RULES:
            raise Unsupported(f"JAX's {name}")
        if name in BROADCASTS:
            # A number beside an array is one anyway.
            of_rank = [o for o, v in zip(operands, eqn.invars, strict=True) if v.aval.ndim]
            values = tuple(map(self.name, operands))
            loose = bool(of_rank) and all(o.loose for o in of_rank)
        else:
            avals = (v.aval for v in eqn.invars)
            values, loose = tuple(map(self.whole, operands, avals)), False
        results = RULES[name](self, eqn, values)
        return [
            _Operand(r, loose=loose) for r in ([results] if isinstance(results, str) else results)
        ]

    def _broadcast(self, eqn: Any, operand: _Operand) -> _Operand:
        """The operand with axes of size 1 where it has none; operators make them larger."""
        shape, at = eqn.params["shape"], eqn.params["broadcast_dimensions"]
        new = [i for i in range(len(shape)) if i not in at]
        sizes = dict(zip(at, eqn.invars[0].aval.shape, strict=True))
        differ = any(dimension(sizes.get(i, 1)) != dimension(n) for i, n in enumerate(shape))
        loose = operand.loose or differ
        if operand.array is not None:
            return _Operand(array=np.expand_dims(operand.array, tuple(new)), loose=loose)
        value = operand.name
        if new:
            value = self.graph.add("Unsqueeze", value, self.graph.integers(*new))
        return _Operand(value, loose=loose)

    def _scan(self, eqn: Any, scan: Scanned, operands: list[_Operand]) -> list[_Operand]:
        """``lax.scan`` as a Scan, whose body sees the constants of the scan around it."""
        avals, consts, carries = [v.aval for v in eqn.invars], scan.constants, scan.carries
        inner = operands[:consts]
        states = list(map(self.whole, operands[consts:], avals[consts:]))
        if not states[carries:]:
            raise Unsupported("lax.scan over no array")
        body = self.graph.body()
        invars = scan.jaxpr.invars[consts:]
        for i, v in enumerate(invars):
            hint = "state" if i < carries else "step"
            shape = tuple(map(dimension, v.aval.shape))
            name = body.input(self.graph.unique(hint), self.graph.dtype(v.aval.dtype), shape)
            inner.append(_Operand(name))
        writer = _Writer(body, self.sizes)
        results = writer.run(scan.jaxpr, scan.consts, inner)
        outvars = scan.jaxpr.outvars
        for result, v in zip(results, outvars, strict=True):
            shape = tuple(map(dimension, v.aval.shape))
            body.output(writer.whole(result, v.aval), self.graph.dtype(v.aval.dtype), shape)
        steps, stacked = len(invars) - carries, len(outvars) - carries
        how: dict[str, Any] = {"body": body, "num_scan_inputs": steps}
        if scan.reverse:
            how["scan_input_directions"] = [1] * steps
            if stacked:
                how["scan_output_directions"] = [1] * stacked
        values = self.graph.add_many("Scan", *states, outputs=len(outvars), **how)
        return [_Operand(value) for value in values]


def _literal(v: Any) -> _Operand:
    _check_dtype(v.aval.dtype)
    return _Operand(array=np.asarray(v.val, v.aval.dtype))


def _constant(value: Any) -> _Operand:
    return _Operand(array=value if isinstance(value, np.ndarray) else np.asarray(value))


def _check_dtype(dtype: Any) -> None:
    if str(dtype) not in _DTYPES:
        raise Unsupported(f"an array of {dtype}")


def _is_fixed(eqn: Any) -> bool:
    """Whether the sizes of all results are known now."""
    return all(isinstance(dimension(n), int) for v in eqn.outvars for n in v.aval.shape)


def _computed(eqn: Any, arrays: list[Any]) -> list[_Operand]:
    """What an equation of known arrays gives, computed now."""
    name, shape = str(eqn.primitive), tuple(eqn.outvars[0].aval.shape)
    if name == "reshape":  # without compiling for each shape
        return [_Operand(array=arrays[0].reshape(shape))]
    params = eqn.primitive.get_bind_params(eqn.params)
    results = eqn.primitive.bind(*map(jnp.asarray, arrays), **params)
    results = results if eqn.primitive.multiple_results else [results]
    return [_constant(result) for result in results]


def struct(shape: tuple[Any, ...], dtype: Any, *, weak: bool = False) -> Any:
    """The shape and dtype of an argument that is traced."""
    return jax.ShapeDtypeStruct(shape, dtype, weak_type=weak)  # type: ignore[no-untyped-call]


def translate(
    graph: Graph,
    sizes: Sizes,
    function: Callable[..., Sequence[Any]],
    shapes: Sequence[jax.ShapeDtypeStruct],
    values: Sequence[str],
) -> list[str]:
    """The results of a function of arrays, as values of the graph.

    Args:
      graph: where the nodes go.
      sizes: its free sizes; ``shapes`` are stated with them.
      function: pure; arrays that it closes over become initialisers.
      shapes: of its arguments.
      values: the arguments.

    Raises:
      Unsupported: something in it has no operator.
    """
    try:
        traced = jax.make_jaxpr(function)(*shapes)
    except Exception as error:  # of any class: with given sizes the same has been traced before
        words = str(error).partition("\n")[0]
        raise Unsupported(f"something else for other numbers of steps or rows ({words})") from None
    writer = _Writer(graph, sizes)
    results = writer.run(traced.jaxpr, traced.consts, [_Operand(value) for value in values])
    return [
        writer.whole(result, v.aval)
        for result, v in zip(results, traced.jaxpr.outvars, strict=True)
    ]
