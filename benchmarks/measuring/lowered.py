"""What stands in a lowered program: its matrix products, and which of them a loop runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Product", "loops", "products"]

_FUNCTION = re.compile(r"func\.func (?:public|private) @([\w.]+)")
_CALL = re.compile(r"\bcall @([\w.]+)\(")
_PRODUCT = re.compile(
    r"stablehlo\.dot_general .*: \(tensor<(\S+)>, tensor<(\S+)>\) -> tensor<(\S+)>"
)
_PRECISION = re.compile(r"precision = \[(\w+), \w+\]")


class Product(NamedTuple):
    """A product of a program, by the types of its operands and result, such as ``32x256xf32``.

    precision: DEFAULT, HIGH or HIGHEST; what that means is for the device to say.
    in_loop: whether a loop runs it, once in every turn.
    """

    left: str
    right: str
    result: str
    precision: str
    in_loop: bool


def loops(text: str) -> int:
    """How many loops the StableHLO ``text`` of a program has."""
    return text.count("stablehlo.while(")


def products(text: str) -> list[Product]:
    """The matrix products in the StableHLO ``text`` of a program.

    Example:
      >>> import jax
      >>> (product,) = products(jax.jit(lambda x: x @ x).lower(jax.numpy.ones((4, 4))).as_text())
      >>> product.left, product.precision, product.in_loop
      ('4x4xf32', 'DEFAULT', False)
    """
    lines = list(_lines(text))
    looped: set[str] = set()
    while True:  # until no further function is found that a loop calls, or what it calls
        called = {
            name
            for function, loop, line in lines
            if loop or function in looped
            for name in _CALL.findall(line)
        }
        if called <= looped:
            break
        looped |= called
    return [
        Product(found[1], found[2], found[3], _precision(line), loop or function in looped)
        for function, loop, line in lines
        if (found := _PRODUCT.search(line))
    ]


def _precision(line: str) -> str:
    found = _PRECISION.search(line)
    return found[1] if found else "DEFAULT"


def _lines(text: str) -> Iterator[tuple[str, bool, str]]:
    """Every line with its function, and whether it stands in the body of a loop."""
    function, depth, bodies = "", 0, list[int]()
    for line in text.splitlines():
        if opening := _FUNCTION.search(line):
            function = opening[1]
        # Attributes have braces of their own, which close on their line; a body's do not.
        depth += line.count("{") - line.count("}")
        if line.strip().startswith("} do {"):
            bodies.append(depth)
        while bodies and depth < bodies[-1]:
            bodies.pop()
        yield function, bool(bodies), line
