"""All that is known here of JAX's primitives: their names, and the ONNX operators they are.

JAX promises none of it. A primitive that is not in `RULES`, because it has no operator or a new JAX
gives it another name, is refused by name; it never becomes something else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rnn_jax.export.onnx import arrays, elementwise
from rnn_jax.export.onnx.rules import Rule

__all__ = ["BROADCASTS", "COMMUTES", "RULES", "Scanned", "called", "is_copy", "is_size", "scanned"]

COMMUTES = {"add", "max", "min", "mul"}
_CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call",
          "custom_vjp_call_jaxpr", "checkpoint", "remat", "remat2")  # fmt: skip
_COPIES = {"copy", "copy_p", "optimization_barrier", "stop_gradient", "pvary", "pcast"}


def called(eqn: Any) -> tuple[Any, Any] | None:
    """The jaxpr and the constants of an equation that only calls a function; None for another."""
    if str(eqn.primitive) not in _CALLS:
        return None
    inner = next(eqn.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in eqn.params)
    return _opened(inner)


def _opened(inner: Any) -> tuple[Any, Any]:
    return (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())


def is_copy(eqn: Any) -> bool:
    """Whether the results of an equation are its operands."""
    if str(eqn.primitive) == "convert_element_type":
        return eqn.invars[0].aval.dtype == eqn.outvars[0].aval.dtype
    return str(eqn.primitive) in _COPIES


class Scanned(NamedTuple):
    """A ``lax.scan``: its body, whose arguments are constants, the carry and one step's arrays."""

    jaxpr: Any
    consts: Any
    constants: int
    carries: int
    reverse: bool


def scanned(eqn: Any) -> Scanned | None:
    """What an equation scans; None for another one.

    Versions of JAX differ in how they count. An array that is scanned has one axis more than what
    a step reads of it, and one that is stacked one more than what a step gives.
    """
    if str(eqn.primitive) != "scan":
        return None
    jaxpr, consts = _opened(eqn.params["jaxpr"])
    inside = [v.aval.ndim for v in jaxpr.invars]
    steps = sum(v.aval.ndim > n for v, n in zip(eqn.invars, inside, strict=True))
    results = zip(eqn.outvars, jaxpr.outvars, strict=True)
    carries = sum(v.aval.ndim == inner.aval.ndim for v, inner in results)
    constants = len(inside) - steps - carries
    return Scanned(jaxpr, consts, constants, carries, bool(eqn.params["reverse"]))


def is_size(eqn: Any) -> bool:
    """Whether an equation's result is a size that is free."""
    return str(eqn.primitive) == "dim_as_value"


# Results whose operands may be smaller, as ONNX's operators broadcast them.
BROADCASTS: dict[str, Rule] = {
    **{
        name: elementwise.op(op, of="iuf")
        for name, op in {
            "abs": "Abs", "add": "Add", "add_any": "Add", "div": "Div", "ge": "GreaterOrEqual",
            "gt": "Greater", "le": "LessOrEqual", "lt": "Less", "max": "Max", "min": "Min",
            "mul": "Mul", "neg": "Neg", "pow": "Pow", "sign": "Sign", "sub": "Sub",
        }.items()
    },
    **{
        name: elementwise.op(op, of="f")
        for name, op in {
            "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan",
            "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "erf": "Erf",
            "exp": "Exp", "floor": "Floor", "log": "Log", "logistic": "Sigmoid", "sin": "Sin",
            "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
        }.items()
    },
    **{name: elementwise.op(op, of="b") for name, op in {"and": "And", "not": "Not", "or": "Or",
                                             "xor": "Xor"}.items()},
    "cbrt": elementwise.cbrt,
    "clamp": elementwise.clamp,
    "convert_element_type": elementwise.convert,
    "eq": elementwise.op("Equal"),
    "erfc": elementwise.erfc,
    "exp2": elementwise.exp2,
    "expm1": elementwise.expm1,
    "integer_pow": elementwise.integer_pow,
    "is_finite": elementwise.is_finite,
    "log1p": elementwise.log1p,
    "ne": elementwise.swapped("Equal", "Not"),
    "rem": elementwise.rem,
    "round": elementwise.round_,
    "rsqrt": elementwise.rsqrt,
    "select_n": elementwise.select,
    "square": elementwise.square,
}  # fmt: skip


# Results whose operands must have their whole shapes.
RULES: dict[str, Rule] = {
    **BROADCASTS,
    "argmax": arrays.arg("ArgMax"),
    "argmin": arrays.arg("ArgMin"),
    "concatenate": arrays.concatenate,
    "cumsum": arrays.cumsum,
    "dim_as_value": arrays.size,
    "dot_general": arrays.dot,
    "expand_dims": arrays.expand_dims,
    "gather": arrays.gather,
    "iota": arrays.iota,
    "pad": arrays.pad,
    "reduce_and": arrays.reduce_bool("ReduceMin"),
    "reduce_max": arrays.reduce("ReduceMax"),
    "reduce_min": arrays.reduce("ReduceMin"),
    "reduce_or": arrays.reduce_bool("ReduceMax"),
    "reduce_prod": arrays.reduce("ReduceProd"),
    "reduce_sum": arrays.reduce("ReduceSum"),
    "reshape": arrays.reshape,
    "rev": arrays.rev,
    "slice": arrays.slice_,
    "split": arrays.split,
    "squeeze": arrays.squeeze,
    "stack": arrays.stack,
    "transpose": arrays.transpose,
}
