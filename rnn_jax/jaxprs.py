"""What the package knows of JAX's internals: jaxprs, meshes, clusters, the wording of errors.

JAX promises none of it. Where a jaxpr cannot be read, because a new JAX writes it otherwise, each
function below falls back to what is right without it, as its docstring states.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal
from jax.sharding import NamedSharding, PartitionSpec

__all__ = [
    "COSTLY",
    "cluster",
    "grouped",
    "hoisted",
    "in_auto_mode",
    "is_traced",
    "jit_disabled",
    "only_added",
    "portable",
    "returns_an_argument",
    "returns_one_value",
    "reverse_mode_only",
    "row_major",
    "saving_costly",
    "scan",
    "spec_of",
    "sum_over",
    "vary_alike",
    "vary_over",
    "varying_axes",
]

# Operations worth saving for the backward pass, and worth applying to long rows.
COSTLY = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "div", "erf",
    "erf_inv", "erfc", "exp", "exp2", "expm1", "integer_pow", "log", "log1p", "logistic", "pow",
    "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh",
}  # fmt: skip

# What reading a jaxpr of another form than the one known here may raise.
_UNREADABLE = (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError)


def cluster(seconds: float) -> tuple[str, int, int, list[int] | None] | None:
    """What `jax.distributed.initialize` would find out by itself of the cluster around it.

    Where process 0 is, how many there are, which one this is, and its devices on this machine, None
    for all of them. None where there is no cluster that it knows.
    """
    try:
        from jax._src.clusters import ClusterEnv

        found = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, int(seconds)
        )
        address, count, number, devices = found
    except (*_UNREADABLE, ImportError):
        return None
    if address is None or count is None or number is None:
        return None
    return address, int(count), int(number), None if devices is None else list(devices)


def is_traced(*values: Any) -> bool:
    """Whether any of the values is not known while a program is traced, as under jit.

    Example:
      >>> is_traced(jnp.ones(2), None)
      False
    """
    return any(isinstance(value, jax.core.Tracer) for value in values)


def _type_of(leaf: Any) -> Any:
    return jax.typeof(leaf) if isinstance(leaf, jax.Array) else None


def varying_axes(*trees: Any) -> frozenset[str]:
    """The mesh axes over which some leaf differs, inside ``jax.shard_map``; none outside of it.

    None, too, where JAX does not keep track of them (``check_vma=False``).

    Example:
      >>> varying_axes(jnp.ones(2), None)
      frozenset()
    """

    def axes(leaf: Any) -> frozenset[str]:
        kind = _type_of(leaf)
        found = getattr(getattr(kind, "manual_axis_type", None), "varying", None)
        return frozenset(getattr(kind, "vma", ()) if found is None else found)

    return frozenset[str]().union(*map(axes, jax.tree.leaves(trees)))


def vary_over(axes: frozenset[str], tree: Any) -> Any:
    """``tree`` with the type of one that differs over ``axes``; its values are the same.

    A scan's carry must have one type throughout, and cotangents of a function with a derivative of
    its own must have those of the arguments. JAX sums the cotangent of what is cast here.
    """

    def one(leaf: Any) -> Any:
        missing = tuple(sorted(axes - varying_axes(leaf)))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(one, tree) if axes else tree


def vary_alike(tree: Any) -> Any:
    """``tree`` with every leaf varying over all axes over which one of them does."""
    return vary_over(varying_axes(tree), tree)


def sum_over(axis_name: str, tree: Any) -> Any:
    """The sum of a tree over the devices of a mesh axis, the same on all: one all-reduce."""
    return lax.psum(tree, axis_name)  # type: ignore[no-untyped-call]


def spec_of(array: Any) -> tuple[Any, ...]:
    """By axis, the Explicit mesh axes over which an array is laid out, None for none.

    Example:
      >>> spec_of(jnp.ones((3, 2)))
      (None, None)
    """
    spec = getattr(getattr(_type_of(array), "sharding", None), "spec", ())
    return (*spec, *(None,) * (jnp.ndim(array) - len(spec)))


def in_auto_mode(function: Callable[..., Any], args: tuple[Any, ...], layouts: Any) -> Any:
    """``function(*args)`` with the compiler in charge of layouts, even on a mesh of Explicit axes.

    With Explicit axes the layout of an array is part of its type, and JAX refuses what leaves that
    of a result open: to merge sharded axes, to select rows by sharded ids, to scan from a carry of
    another layout. Where no argument is laid out over such an axis, this is the call itself.

    Args:
      function: from the arguments to a tuple of trees, ``len(layouts)`` of them.
      args: trees of arrays and of anything else.
      layouts: a tuple, for each result a tuple as `spec_of` gives it, for all its leaves; or a list
        of such, leaf by leaf.
    """
    leaves, tree = jax.tree.flatten(args)
    arrays = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
    laid_out = [leaves[i] for i in arrays if any(s is not None for s in spec_of(leaves[i]))]
    if not laid_out:
        return function(*args)
    mesh = _type_of(laid_out[0]).sharding.mesh
    if jax.sharding.get_abstract_mesh().empty:  # outside jit and set_mesh; the array has devices
        mesh = getattr(getattr(laid_out[0], "sharding", None), "mesh", mesh)
    structures: list[Any] = []

    def by_leaves(*traced: Any) -> tuple[list[Any], ...]:
        given = list(leaves)
        for i, array in zip(arrays, traced, strict=True):
            given[i] = array
        results = function(*jax.tree.unflatten(tree, given))
        structures[:] = [jax.tree.structure(result) for result in results]
        return tuple(jax.tree.leaves(result) for result in results)

    def sharding(layout: Any) -> Any:
        if isinstance(layout, list):
            return [sharding(one) for one in layout]
        return NamedSharding(mesh, PartitionSpec(*layout))  # type: ignore[no-untyped-call]

    auto = jax.sharding.auto_axes(
        by_leaves, axes=mesh.abstract_mesh.explicit_axes, out_sharding=tuple(map(sharding, layouts))
    )
    results = auto(*(leaves[i] for i in arrays))
    return tuple(map(jax.tree.unflatten, structures, results))


_PORTABLE: ContextVar[bool] = ContextVar("_PORTABLE", default=False)


@contextmanager
def portable() -> Iterator[None]:
    """What is traced inside asks XLA for nothing that other compilers, or `jax.export`, refuse."""
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def row_major(array: Any) -> Any:
    """``array``, in memory row after row where XLA would rather keep a transpose as a view.

    The values are the same. It is ``array`` itself where JAX has no such constraint, in a program
    that is `portable`, and outside a program: there a transpose is no view, and what has a layout
    of its own is bound to its device.

    Example:
      >>> row_major(jnp.ones((2, 3)).T).shape
      (3, 2)
    """
    if _PORTABLE.get() or not is_traced(array):
        return array
    try:
        from jax.experimental.layout import Layout, with_layout_constraint
    except ImportError:
        return array
    constrained: Any = with_layout_constraint
    return constrained(array, Layout(tuple(range(array.ndim))))


def jit_disabled() -> bool:
    """Whether programs run operation by operation, as inside ``jax.disable_jit()``."""
    return bool(jax.config.jax_disable_jit)  # type: ignore[attr-defined]


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: int | None = None,
    *,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """``lax.scan``, which without this refuses to take no step where jit is disabled.

    Example:
      >>> with jax.disable_jit():
      ...     scan(lambda c, x: (c + x, c * x), jnp.zeros(2), jnp.ones((0, 2)))[1].shape
      (0, 2)
    """
    if jit_disabled():
        first = jax.tree.leaves(xs)[0].shape[0] if length is None else length
        if first == 0:
            step = jax.tree.map(lambda x: jnp.empty(x.shape[1:], x.dtype), xs)
            _, ys = jax.eval_shape(body, init, step)
            return init, jax.tree.map(lambda y: jnp.zeros((0, *y.shape), y.dtype), ys)
    result: tuple[Any, Any] = lax.scan(body, init, xs, length, reverse, unroll)
    return result


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
    except _UNREADABLE:
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
    except _UNREADABLE:
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
    except _UNREADABLE:
        return False
    both = zip(leaves[:pairs], leaves[pairs:], strict=True)
    return all(frozenset(p) in sums and uses[p[0]] == uses[p[1]] == 1 for p in both)


@contextmanager
def reverse_mode_only(message: str) -> Iterator[None]:
    """Turns JAX's error about forward mode into a ValueError; leaves any other error as it is."""
    try:
        yield
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise ValueError(message) from None


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
        except _UNREADABLE:
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
