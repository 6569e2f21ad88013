"""Jaxprs: what a function computes, read and changed. Each has a way out where it is unreadable."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

__all__ = [
    "COSTLY",
    "UNREADABLE",
    "grouped",
    "hoisted",
    "only_added",
    "returns_an_argument",
    "returns_one_value",
    "saving_costly",
]

# Operations worth saving for the backward pass, and worth applying to long rows.
COSTLY = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "div", "erf",
    "erf_inv", "erfc", "exp", "exp2", "expm1", "integer_pow", "log", "log1p", "logistic", "pow",
    "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh",
}  # fmt: skip


# What reading a jaxpr of another form than the one known here may raise.
UNREADABLE = (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError)


def hoisted(
    function: Callable[..., Any], *args: Any
) -> tuple[Callable[..., Any], list[jax.typing.ArrayLike]]:
    """``function`` with the arrays that it closes over as its first argument, and those arrays.

    ``jax.closure_convert`` only hoists what has a gradient. Integers that are traced must not stay
    behind either: inside a scan they would be of a trace that is over when its derivative is taken.

    Args:
      function: pure, from trees of arrays to a tree of arrays.
      args: arguments of the types that it will be called with.

    Example:
      >>> n = jnp.array(3)
      >>> converted, closed = hoisted(lambda x: n * x, 2.0)
      >>> float(converted(closed, 5.0))
      15.0
    """
    traced, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    structure = jax.tree.structure(shape)

    def converted(closed: list[Any], *args: Any) -> Any:
        leaves = jax.core.eval_jaxpr(traced.jaxpr, closed, *jax.tree.leaves(args))
        return jax.tree.unflatten(structure, leaves)

    return converted, traced.consts


def saving_costly(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` whose derivative saves the results of costly operations and computes the rest.

    The LSTM's saves six arrays in place of eleven. A costly operation whose name JAX has changed
    would be computed twice; nothing else would differ.
    """

    def policy(primitive: Any, *_: Any, **__: Any) -> bool:
        return str(primitive) in COSTLY

    return jax.checkpoint(function, policy=policy, prevent_cse=False)


def returns_an_argument(function: Callable[..., Any], *args: Any) -> bool:
    """Whether the function's one result is one of its arguments' leaves; False if unreadable.

    Example:
      >>> returns_an_argument(lambda pair: pair[0], (1.0, 2.0))
      True
      >>> returns_an_argument(lambda pair: 1 * pair[0], (1.0, 2.0))
      False
    """
    traced = jax.make_jaxpr(function)(*args)
    try:
        return traced.jaxpr.outvars[0] in traced.jaxpr.invars
    except UNREADABLE:
        return False


def returns_one_value(function: Callable[..., tuple[Any, Any]], *args: Any) -> bool:
    """Whether the function's two results are one and the same value, not only of one shape.

    If unreadable: whether they are equal for these arguments.

    Example:
      >>> returns_one_value(lambda x: (y := x + 1, y), 2.0)
      True
      >>> returns_one_value(lambda x: (x + 1, 2 * x - 1), 2.0)
      False
    """
    traced = jax.make_jaxpr(function)(*args)
    try:
        first, second = traced.jaxpr.outvars
    except UNREADABLE:
        one, other = function(*args)
        return bool(jnp.array_equal(one, other))
    return first is second


def only_added(function: Callable[..., Any], pairs: int, *args: Any) -> bool:
    """Whether of the last ``2 · pairs`` leaves the i-th of each half are only ever added together.

    False if unreadable.

    Example:
      >>> only_added(lambda a, b: jnp.tanh(a + b), 1, 1.0, 2.0)
      True
      >>> only_added(lambda a, b: a + b + a, 1, 1.0, 2.0)
      False
    """
    traced = jax.make_jaxpr(function)(*args)
    try:
        jaxpr = traced.jaxpr
        uses = Counter(id(v) for eqn in jaxpr.eqns for v in eqn.invars)
        uses.update(id(v) for v in jaxpr.outvars)
        sums = {frozenset(map(id, e.invars)) for e in jaxpr.eqns if str(e.primitive) == "add"}
        leaves = [id(v) for v in jaxpr.invars[len(jaxpr.invars) - 2 * pairs :]]
    except UNREADABLE:
        return False
    both = zip(leaves[:pairs], leaves[pairs:], strict=True)
    return all(frozenset(p) in sums and uses[p[0]] == uses[p[1]] == 1 for p in both)


def grouped(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with its costly unary operations of equal kind joined along the last axis.

    ``σ(a), σ(b), σ(c)`` become one ``σ`` of ``[a, b, c]``, wherever none of them needs another's
    result. The values are the same. XLA's CPU compiler otherwise puts each of them, slices and all,
    into a loop that it does not vectorise well, and an LSTM's forward pass takes 1.5 times as long.
    If unreadable it is ``function`` itself.

    Example:
      >>> f = grouped(lambda a, b: (jnp.tanh(a), jnp.tanh(b)))
      >>> str(jax.make_jaxpr(f)(jnp.ones(3), jnp.ones(2))).count("tanh")
      1
    """

    def apply(*args: Any) -> Any:
        # The function's own errors come up here, outside the fallback.
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        try:
            leaves = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args))
        except UNREADABLE:
            return function(*args)
        return jax.tree.unflatten(jax.tree.structure(shape), leaves)

    return apply


def _evaluate(jaxpr: Any, consts: list[Any], args: list[Any]) -> list[Any]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(v: Any) -> Any:
        return v.val if isinstance(v, Literal) else known[v]

    waiting = list(jaxpr.eqns)
    while waiting:
        groups, later = defaultdict(list), []
        for eqn in waiting:
            if not all(isinstance(v, Literal) or v in known for v in eqn.invars):
                later.append(eqn)
            elif str(eqn.primitive) in COSTLY and len(eqn.invars) == 1 and eqn.invars[0].aval.ndim:
                operand = eqn.invars[0].aval
                kind = (eqn.primitive, str(eqn.params), operand.shape[:-1], operand.dtype)
                groups[kind].append(eqn)
            else:
                inner = eqn.params.get("jaxpr") if str(eqn.primitive) in ("jit", "pjit") else None
                if inner is not None:
                    results = _evaluate(inner.jaxpr, inner.consts, list(map(read, eqn.invars)))
                else:
                    params = eqn.primitive.get_bind_params(eqn.params)
                    results = eqn.primitive.bind(*map(read, eqn.invars), **params)
                    results = results if eqn.primitive.multiple_results else [results]
                known.update(zip(eqn.outvars, results, strict=True))
        for (primitive, *_), eqns in groups.items():
            operands = [read(eqn.invars[0]) for eqn in eqns]
            joined = operands[0] if len(eqns) == 1 else jnp.concatenate(operands, axis=-1)
            result = primitive.bind(joined, **eqns[0].params)
            start = 0
            for eqn, operand in zip(eqns, operands, strict=True):
                stop = start + operand.shape[-1]
                known[eqn.outvars[0]] = result[..., start:stop] if len(eqns) > 1 else result
                start = stop
        waiting = later
    return [read(v) for v in jaxpr.outvars]
