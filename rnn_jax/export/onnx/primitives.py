"""All that is known here of JAX's primitives: their names, and the ONNX operators they are.

JAX promises none of it. A primitive that is not in `RULES`, because it has no operator or a new JAX
gives it another name, is refused by name; it never becomes something else.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from rnn_jax.export.onnx.graph import Graph, dimension

__all__ = [
    "BROADCASTS",
    "COMMUTES",
    "RULES",
    "Unsupported",
    "called",
    "is_copy",
    "is_scan",
    "is_size",
]


class Unsupported(ValueError):
    """What a jaxpr holds and ONNX has no operator for."""


class Writer(Protocol):
    """What a rule writes with: the graph, and sizes that are known when the file runs."""

    graph: Graph

    def shape(self, shape: tuple[Any, ...]) -> str:
        """A shape as an ``int64`` value."""
        ...


# From the writer, an equation and its operands, whole, to its results.
Rule = Callable[[Writer, Any, tuple[str, ...]], str | tuple[str, ...]]

COMMUTES = {"add", "max", "min", "mul"}
_CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call",
          "custom_vjp_call_jaxpr", "checkpoint", "remat", "remat2")  # fmt: skip
_COPIES = {"copy", "copy_p", "optimization_barrier", "stop_gradient", "pvary", "pcast"}


def called(eqn: Any) -> tuple[Any, Any] | None:
    """The jaxpr and the constants of an equation that only calls a function; None for another."""
    if str(eqn.primitive) not in _CALLS:
        return None
    inner = next(eqn.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in eqn.params)
    return (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())


def is_copy(eqn: Any) -> bool:
    """Whether the results of an equation are its operands."""
    if str(eqn.primitive) == "convert_element_type":
        return eqn.invars[0].aval.dtype == eqn.outvars[0].aval.dtype
    return str(eqn.primitive) in _COPIES


def is_scan(eqn: Any) -> bool:
    """Whether an equation is ``lax.scan``."""
    return str(eqn.primitive) == "scan"


def is_size(eqn: Any) -> bool:
    """Whether an equation's result is a size that is free."""
    return str(eqn.primitive) == "dim_as_value"


def _dtype(eqn: Any) -> np.dtype:
    return np.dtype(eqn.outvars[0].aval.dtype)


def _shapes(eqn: Any) -> list[tuple[Any, ...]]:
    return [tuple(v.aval.shape) for v in eqn.invars]


def _one(dtype: Any, value: float) -> np.ndarray:
    return np.array(value, dtype)


def _op(name: str, *, of: str = "biuf") -> Rule:
    """The operator of that name, for operands of these kinds (NumPy's letters)."""

    def rule(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
        dtype = np.dtype(eqn.invars[-1].aval.dtype)
        if dtype.kind not in of:
            raise Unsupported(f"{eqn.primitive} of {dtype}")
        return w.graph.add(name, *operands)

    return rule


def _swapped(name: str, last: str = "") -> Rule:
    def rule(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
        result = w.graph.add(name, *operands)
        return w.graph.add(last, result) if last else result

    return rule


def _rsqrt(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    return w.graph.add("Reciprocal", w.graph.add("Sqrt", *operands))


def _log1p(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """``log(1 + x)``, exact where 1 + x rounds: ``log(u) · x / (u - 1)`` with ``u = 1 + x``."""
    g, (x,), one = w.graph, operands, w.graph.scalar(1)
    u = g.add("Add", x, one)
    small = g.add("Equal", u, one)
    less = g.add("Where", small, one, g.add("Sub", u, one))
    ratio = g.add("Div", g.add("Mul", g.add("Log", u), x), less)
    exact = g.add("Where", small, x, ratio)
    # Where x is so large, infinite maybe, that 1 is nothing beside it, there is no ratio.
    return g.add("Where", g.add("Equal", u, x), g.add("Log", u), exact)


def _expm1(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """``exp(x) - 1``, exact near 0: there ``2 tanh(x/2) / (1 - tanh(x/2))``."""
    g, (x,), one = w.graph, operands, w.graph.scalar(1)
    half = g.add("Tanh", g.add("Mul", x, g.scalar(0.5)))
    near = g.add("Div", g.add("Add", half, half), g.add("Sub", one, half))
    far = g.add("Sub", g.add("Exp", x), one)
    return g.add("Where", g.add("Less", g.add("Abs", x), one), near, far)


def _exp2(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    return w.graph.add("Pow", w.graph.scalar(2), *operands)


def _square(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    return w.graph.add("Mul", operands[0], operands[0])


def _cbrt(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    root = w.graph.add("Pow", w.graph.add("Abs", *operands), w.graph.scalar(1 / 3))
    return w.graph.add("Mul", w.graph.add("Sign", *operands), root)


def _erfc(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    return w.graph.add("Sub", w.graph.scalar(1), w.graph.add("Erf", *operands))


def _integer_pow(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    exponent = eqn.params["y"]
    if exponent == 2:
        return _square(w, eqn, operands)
    return w.graph.add("Pow", *operands, w.graph.constant(_one(_dtype(eqn), exponent)))


def _is_finite(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    nothing = w.graph.add("Sub", operands[0], operands[0])  # not a number, if x is not finite
    return w.graph.add("Equal", nothing, w.graph.scalar(0))


def _rem(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    return w.graph.add("Mod", *operands, fmod=1)


def _round(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    if eqn.params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise Unsupported("round away from zero")
    return w.graph.add("Round", *operands)


def _convert(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    return w.graph.cast(*operands, eqn.params["new_dtype"])


def _select(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    if len(operands) != 3 or eqn.invars[0].aval.dtype != bool:
        raise Unsupported("select_n among more than two")
    condition, if_false, if_true = operands
    return w.graph.add("Where", condition, if_true, if_false)


def _clamp(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    low, x, high = operands
    return w.graph.add("Min", w.graph.add("Max", x, low), high)


# Results whose operands may be smaller, as ONNX's operators broadcast them.
BROADCASTS: dict[str, Rule] = {
    **{
        name: _op(op, of="iuf")
        for name, op in {
            "abs": "Abs", "add": "Add", "add_any": "Add", "div": "Div", "ge": "GreaterOrEqual",
            "gt": "Greater", "le": "LessOrEqual", "lt": "Less", "max": "Max", "min": "Min",
            "mul": "Mul", "neg": "Neg", "pow": "Pow", "sign": "Sign", "sub": "Sub",
        }.items()
    },
    **{
        name: _op(op, of="f")
        for name, op in {
            "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan",
            "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "erf": "Erf",
            "exp": "Exp", "floor": "Floor", "log": "Log", "logistic": "Sigmoid", "sin": "Sin",
            "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
        }.items()
    },
    **{name: _op(op, of="b") for name, op in {"and": "And", "not": "Not", "or": "Or",
                                             "xor": "Xor"}.items()},
    "cbrt": _cbrt,
    "clamp": _clamp,
    "convert_element_type": _convert,
    "eq": _op("Equal"),
    "erfc": _erfc,
    "exp2": _exp2,
    "expm1": _expm1,
    "integer_pow": _integer_pow,
    "is_finite": _is_finite,
    "log1p": _log1p,
    "ne": _swapped("Equal", "Not"),
    "rem": _rem,
    "round": _round,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "square": _square,
}  # fmt: skip


def _reshape(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    if eqn.params.get("dimensions") is not None:
        raise Unsupported("reshape in another order")
    (before,), after = _shapes(eqn), tuple(eqn.outvars[0].aval.shape)
    ones = [i for i, size in enumerate(after) if size == 1]
    if tuple(size for i, size in enumerate(after) if i not in ones) == before:
        return w.graph.add("Unsqueeze", *operands, w.graph.integers(*ones)) if ones else operands[0]
    free = [i for i, size in enumerate(after) if isinstance(dimension(size), str)]
    if len(free) == 1:  # a file has a place for one size that follows from the others
        sizes = (-1 if i in free else int(size) for i, size in enumerate(after))
        return w.graph.add("Reshape", *operands, w.graph.integers(*sizes))
    return w.graph.add("Reshape", *operands, w.shape(after))


def _squeeze(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    return w.graph.add("Squeeze", *operands, w.graph.integers(*eqn.params["dimensions"]))


def _expand_dims(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    return w.graph.add("Unsqueeze", *operands, w.graph.integers(*eqn.params["dimensions"]))


def _transpose(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    return w.graph.add("Transpose", *operands, perm=[int(i) for i in eqn.params["permutation"]])


def _split(w: Writer, eqn: Any, operands: tuple[str, ...]) -> tuple[str, ...]:
    sizes = [int(size) for size in eqn.params["sizes"]]
    axis, count = int(eqn.params["axis"]), len(sizes)
    return w.graph.add_many("Split", *operands, w.graph.integers(*sizes), outputs=count, axis=axis)


def _concatenate(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    return w.graph.add("Concat", *operands, axis=int(eqn.params["dimension"]))


def _stack(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    axis = int(eqn.params["axis"])
    each = [w.graph.add("Unsqueeze", x, w.graph.integers(axis)) for x in operands]
    return w.graph.add("Concat", *each, axis=axis)


def _sliced(w: Writer, x: str, starts: Any, ends: Any, axes: Any, steps: Any = None) -> str:
    cuts = [starts, ends, axes, *([] if steps is None else [steps])]
    names = [cut if isinstance(cut, str) else w.graph.integers(*map(int, cut)) for cut in cuts]
    return w.graph.add("Slice", x, *names)


def _slice(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    (x,), (shape,), p = operands, _shapes(eqn), eqn.params
    steps = p["strides"] or (1,) * len(shape)
    axes = [i for i in range(len(shape))
            if (p["start_indices"][i], p["limit_indices"][i], steps[i]) != (0, shape[i], 1)]  # fmt: skip
    if not axes:
        return x
    starts = w.shape(tuple(p["start_indices"][i] for i in axes))
    ends = w.shape(tuple(p["limit_indices"][i] for i in axes))
    return _sliced(w, x, starts, ends, axes, [steps[i] for i in axes])


def _rev(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    axes = eqn.params["dimensions"]
    lowest = [np.iinfo(np.int64).min] * len(axes)
    return _sliced(w, *operands, [-1] * len(axes), lowest, axes, [-1] * len(axes))


def _pad(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    config = eqn.params["padding_config"]
    if any(low < 0 or high < 0 or within for low, high, within in config):
        raise Unsupported("pad between elements or by a negative number")
    pads = w.graph.integers(*(c[0] for c in config), *(c[1] for c in config))
    return w.graph.add("Pad", operands[0], pads, operands[1])


def _iota(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    shape, axis, dtype = eqn.params["shape"], eqn.params["dimension"], _dtype(eqn)
    g = w.graph
    size = g.add("Squeeze", w.shape((shape[axis],)), g.integers(0))
    counted = g.cast(g.add("Range", g.constant(np.int64(0)), size, g.constant(np.int64(1))), dtype)
    others = [i for i in range(len(shape)) if i != axis]
    if not others:
        return counted
    return g.add("Expand", g.add("Unsqueeze", counted, g.integers(*others)), w.shape(shape))


def _reduce(op: str) -> Rule:
    def rule(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
        if np.dtype(eqn.invars[0].aval.dtype).kind not in "if":
            raise Unsupported(f"{eqn.primitive} of {eqn.invars[0].aval.dtype}")
        return w.graph.reduce(op, *operands, [int(axis) for axis in eqn.params["axes"]])

    return rule


def _reduce_bool(op: str) -> Rule:
    def rule(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
        axes = [int(axis) for axis in eqn.params["axes"]]
        counted = w.graph.reduce(op, w.graph.cast(*operands, np.int32), axes)
        return w.graph.cast(counted, np.bool_)

    return rule


def _arg(op: str) -> Rule:
    def rule(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
        (axis,) = eqn.params["axes"]
        found = w.graph.add(op, *operands, axis=int(axis), keepdims=0)
        return w.graph.cast(found, _dtype(eqn))

    return rule


def _cumsum(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    axis = w.graph.constant(np.array(eqn.params["axis"], np.int64))
    return w.graph.add("CumSum", *operands, axis, reverse=int(eqn.params["reverse"]))


def _dot(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    (contracted, batched), shapes = eqn.params["dimension_numbers"], _shapes(eqn)
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


def _gather(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """Rows that ids select, or a slice; what `_` gathers otherwise is refused."""
    d, (shape, indexed), sizes = (
        eqn.params["dimension_numbers"],
        _shapes(eqn),
        eqn.params["slice_sizes"],
    )
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
            ends: Any = [starts[0] + int(sizes[axis])]
        else:
            starts = g.cast(index, np.int64)
            ends = g.add("Add", starts, g.integers(int(sizes[axis])))
        cut = _sliced(w, x, starts, ends, [axis])
        collapsed = d.collapsed_slice_dims
        return g.add("Squeeze", cut, g.integers(*collapsed)) if collapsed else cut
    among = tuple(range(axis)) + tuple(i + len(indexed) - 1 for i in range(axis, len(shape) - 1))
    if tuple(d.collapsed_slice_dims) != (axis,) or tuple(d.offset_dims) != among:
        raise Unsupported("gather of pieces at many places")
    index = g.add("Squeeze", index, g.integers(len(indexed) - 1))
    if "FILL" not in mode:
        return g.add("Gather", x, index, axis=axis)
    size = int(shape[axis])
    zero, end = (g.constant(np.array(n, eqn.invars[1].aval.dtype)) for n in (0, size))
    inside = g.add("And", g.add("GreaterOrEqual", index, zero), g.add("Less", index, end))
    rows = g.add("Gather", x, g.add("Where", inside, index, zero), axis=axis)
    last = [i for i in range(len(shape) + len(indexed) - 2) if i in among]
    inside = g.add("Unsqueeze", inside, g.integers(*last))
    fill = eqn.params["fill_value"]
    if fill is None:
        fill = np.nan if _dtype(eqn).kind == "f" else np.iinfo(_dtype(eqn)).min
    return g.add("Where", inside, rows, g.constant(np.array(fill, _dtype(eqn))))


def _size(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    size = w.graph.add("Squeeze", w.shape((eqn.params["dim"],)), w.graph.integers(0))
    return w.graph.cast(size, _dtype(eqn))


# Results whose operands must have their whole shapes.
RULES: dict[str, Rule] = {
    **BROADCASTS,
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "concatenate": _concatenate,
    "cumsum": _cumsum,
    "dim_as_value": _size,
    "dot_general": _dot,
    "expand_dims": _expand_dims,
    "gather": _gather,
    "iota": _iota,
    "pad": _pad,
    "reduce_and": _reduce_bool("ReduceMin"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_or": _reduce_bool("ReduceMax"),
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_sum": _reduce("ReduceSum"),
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "transpose": _transpose,
}
