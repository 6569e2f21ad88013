"""Rules for what acts on each element by itself."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from rnn_jax.export.onnx.rules import Rule, Unsupported, Writer, dtype_of

__all__ = [
    "cbrt",
    "clamp",
    "convert",
    "erfc",
    "exp2",
    "expm1",
    "integer_pow",
    "is_finite",
    "log1p",
    "op",
    "rem",
    "round_",
    "rsqrt",
    "select",
    "square",
    "swapped",
]


def op(name: str, *, of: str = "biuf") -> Rule:
    """The operator of that name, for operands of these kinds (NumPy's letters)."""

    def rule(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
        dtype = np.dtype(eqn.invars[-1].aval.dtype)
        if dtype.kind not in of:
            raise Unsupported(f"{eqn.primitive} of {dtype}")
        return w.graph.add(name, *operands)

    return rule


def swapped(name: str, last: str = "") -> Rule:
    """Another operator after the first, as Not after Equal."""

    def rule(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
        result = w.graph.add(name, *operands)
        return w.graph.add(last, result) if last else result

    return rule


def rsqrt(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """``1 / √x``."""
    return w.graph.add("Reciprocal", w.graph.add("Sqrt", *operands))


def log1p(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """``log(1 + x)``, exact where 1 + x rounds: ``log(u) · x / (u - 1)`` with ``u = 1 + x``."""
    g, (x,), one = w.graph, operands, w.graph.scalar(1)
    u = g.add("Add", x, one)
    small = g.add("Equal", u, one)
    less = g.add("Where", small, one, g.add("Sub", u, one))
    ratio = g.add("Div", g.add("Mul", g.add("Log", u), x), less)
    exact = g.add("Where", small, x, ratio)
    # Where x is so large, infinite maybe, that 1 is nothing beside it, there is no ratio.
    return g.add("Where", g.add("Equal", u, x), g.add("Log", u), exact)


def expm1(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """``exp(x) - 1``, exact near 0: there ``2 tanh(x/2) / (1 - tanh(x/2))``."""
    g, (x,), one = w.graph, operands, w.graph.scalar(1)
    half = g.add("Tanh", g.add("Mul", x, g.scalar(0.5)))
    near = g.add("Div", g.add("Add", half, half), g.add("Sub", one, half))
    far = g.add("Sub", g.add("Exp", x), one)
    return g.add("Where", g.add("Less", g.add("Abs", x), one), near, far)


def exp2(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """``2^x``."""
    return w.graph.add("Pow", w.graph.scalar(2), *operands)


def square(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """``x²``."""
    return w.graph.add("Mul", operands[0], operands[0])


def cbrt(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """``∛x``, of either sign."""
    root = w.graph.add("Pow", w.graph.add("Abs", *operands), w.graph.scalar(1 / 3))
    return w.graph.add("Mul", w.graph.add("Sign", *operands), root)


def erfc(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """``1 - erf(x)``."""
    return w.graph.add("Sub", w.graph.scalar(1), w.graph.add("Erf", *operands))


def integer_pow(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """A power that is known."""
    exponent = eqn.params["y"]
    if exponent == 2:
        return square(w, eqn, operands)
    return w.graph.add("Pow", *operands, w.graph.constant(np.array(exponent, dtype_of(eqn))))


def is_finite(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """Neither infinite nor not a number."""
    nothing = w.graph.add("Sub", operands[0], operands[0])  # not a number, if x is not finite
    return w.graph.add("Equal", nothing, w.graph.scalar(0))


def rem(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """What is left of a division, of the sign of what was divided."""
    return w.graph.add("Mod", *operands, fmod=1)


def round_(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """The nearest whole number, of two as near the even one."""
    if eqn.params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise Unsupported("round away from zero")
    return w.graph.add("Round", *operands)


def convert(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """The value in another dtype."""
    return w.graph.cast(operands[0], eqn.params["new_dtype"])


def select(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """One of two values."""
    if len(operands) != 3 or eqn.invars[0].aval.dtype != bool:
        raise Unsupported("select_n among more than two")
    condition, if_false, if_true = operands
    return w.graph.add("Where", condition, if_true, if_false)


def clamp(w: Writer, eqn: Any, operands: tuple[str, ...]) -> str:
    """The value within its bounds."""
    low, x, high = operands
    return w.graph.add("Min", w.graph.add("Max", x, low), high)
