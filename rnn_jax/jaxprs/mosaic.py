"""Mosaic GPU, JAX's language for kernels: how this JAX spells it, and what it can lower.

Its modules are experimental. ``jax.experimental.pallas.mosaic_gpu.kernel(out_type=…)`` is there
from JAX 0.10 to 0.12; its interpreter, and the table of the operations that it lowers, stand in
private modules. Without the table nothing is refused before JAX lowers the kernel; without the
rest there is a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from rnn_jax.jaxprs.programs import UNREADABLE

__all__ = ["Device", "device", "kernel", "kernel_function", "strided"]

_MISSING = (ImportError, AttributeError, TypeError)


def kernel(
    body: Callable[..., None],
    outputs: Sequence[jax.ShapeDtypeStruct],
    shared: Sequence[jax.ShapeDtypeStruct],
    blocks: int,
    *,
    interpret: bool,
) -> Callable[..., list[Any]]:
    """A kernel of ``blocks`` blocks of 128 threads.

    Args:
      body: of references to operands, outputs and shared memory; ``axis_index("block")`` is its
        block.
      outputs: what it returns.
      shared: arrays in the shared memory of a block.
      blocks: how many.
      interpret: on the host, by JAX's interpreter of such kernels.

    Raises:
      ValueError: this JAX has no such kernels, or no interpreter.
    """
    try:
        from jax.experimental.pallas import mosaic_gpu

        options: dict[str, Any] = {"interpret": _interpreter()} if interpret else {}
        made: Callable[..., list[Any]] = mosaic_gpu.kernel(
            body,
            out_type=list(outputs),
            scratch_types=[mosaic_gpu.SMEM(s.shape, s.dtype) for s in shared],
            grid=(blocks,),
            grid_names=("block",),
            compiler_params=_compiler(),
            **options,
        )
    except _MISSING as error:
        raise ValueError(
            f"JAX {jax.__version__} has no kernels in the form known here ({error}): pass "
            "backend='auto'"
        ) from None
    return made


def _interpreter() -> Any:
    from jax._src.pallas.mosaic_gpu.interpret import params

    return params.InterpretGPUParams()


def _compiler() -> Any:
    """How kernels are compiled: lane by lane.

    The other way, JAX 0.12's own choice, finds layouts by solving constraints, which takes a minute
    for a step of many rows; the machine code is the same. A JAX that only has that way takes it.
    """
    from jax.experimental.pallas import mosaic_gpu

    lane = getattr(getattr(mosaic_gpu, "LoweringSemantics", None), "Lane", None)
    return mosaic_gpu.CompilerParams(**({} if lane is None else {"lowering_semantics": lane}))


def strided(x: Any) -> Any:
    """``x``, inside a kernel, spread over the threads as what is loaded from memory is.

    A constant is held once otherwise, and JAX 0.10 takes none as what a loop starts from.
    """
    from jax.experimental.pallas import mosaic_gpu

    # Two neighbours of float32 where they come out even: JAX's own choice for a load.
    layout = mosaic_gpu.Layout.WG_STRIDED(x.shape, vec_size=1 if x.size % 256 else 2)
    return mosaic_gpu.layout_cast(x, layout)


def kernel_function(
    function: Callable[..., Any], *shapes: jax.ShapeDtypeStruct
) -> Callable[..., Any]:
    """``function`` in operations that a kernel can run, without calls, and for one set of shapes.

    Args:
      function: of arrays, to a tree of arrays.
      shapes: of those arrays.

    Raises:
      ValueError: it closes over arrays, or holds an operation that Mosaic GPU does not lower.
    """
    traced, results = jax.make_jaxpr(function, return_shape=True)(*shapes)
    try:
        consts, jaxpr = [_scalar(const) for const in traced.consts], traced.jaxpr
        unknown = sorted(_names(jaxpr) - (_lowered() or _names(jaxpr)))
    except UNREADABLE:
        return function
    if unknown:
        raise ValueError(f"a kernel has no {', '.join(unknown)}: pass backend='auto'")
    if any(np.ndim(const) for const in consts):
        raise ValueError(
            "a function that closes over arrays cannot run in a kernel: make them parameters "
            "(theta), or pass backend='auto'"
        )
    structure = jax.tree.structure(results)

    def apply(*args: Any) -> Any:
        return jax.tree.unflatten(structure, _evaluate(jaxpr, consts, list(args)))

    return apply


def _scalar(const: Any) -> Any:
    """A number that is known as one; of what is traced, the shape is all that is looked at."""
    return np.asarray(const)[()] if not isinstance(const, jax.core.Tracer) else np.empty(1)


_FLOW = ("cond", "while", "scan")


def _inner(eqn: Any) -> tuple[Any, list[Any]] | None:
    """The program that an equation calls, and its constants."""
    if str(eqn.primitive) in _FLOW:
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if (inner := eqn.params.get(name)) is not None:
            return (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, [])
    return None


def _held(param: Any) -> list[Any]:
    """The programs in a parameter of an operation of control flow."""
    params = param if isinstance(param, tuple) else (param,)
    return [p for p in params if hasattr(p, "jaxpr") and hasattr(p, "consts")]


def _names(jaxpr: Any) -> set[str]:
    """What its operations are called, and those of all that it calls."""
    names = set()
    for eqn in jaxpr.eqns:
        name = str(eqn.primitive)
        if (inner := _inner(eqn)) is not None:
            names |= _names(inner[0])
        elif name not in _SUBSTITUTES:
            names.add(_OVER_ARRAYS if name == "scan" and _over_arrays(eqn) else name)
        if name in _FLOW:
            programs = (held for param in eqn.params.values() for held in _held(param))
            names = names.union(*(_names(held.jaxpr) for held in programs))
    return names


_OVER_ARRAYS = "scan over arrays (such as the derivative of a loop)"


def _over_arrays(scan: Any) -> bool:
    """Whether it takes arrays apart, stacks them, or runs backwards; else it is a ``fori_loop``."""
    (body,) = _held(scan.params["jaxpr"])
    pairs = zip(
        [*scan.invars, *scan.outvars], [*body.jaxpr.invars, *body.jaxpr.outvars], strict=True
    )
    return scan.params["reverse"] or any(a.aval.shape != b.aval.shape for a, b in pairs)


def _lowered() -> set[str]:
    """The names of the operations that kernels of this JAX can hold; none if unknown."""
    try:
        from jax._src.pallas.mosaic_gpu import lowering

        semantics = _compiler().lowering_semantics
        tables = lowering.mosaic_lowering_rules.items()
        # By how a warp group's code is written, not that of a single warp.
        table = next(
            rules for (how, of), rules in tables if how == semantics and of.name == "Warpgroup"
        )
        return {str(primitive) for primitive in table}
    except (*_MISSING, StopIteration):
        return set()


def _log1p(x: Any, **_: Any) -> Any:
    """``log(1 + x)``, to a few roundings where ``1 + x`` loses most of ``x``, too.

    Goldberg, What every computer scientist should know about floating-point arithmetic (ACM
    Computing Surveys 23, 1991), theorem 4: ``log(u) / (u - 1)`` changes so little that it does not
    matter which ``u`` near ``1 + x`` it is of.
    """
    u = 1 + x
    rounded = u - 1
    factor = jnp.log(u) / jnp.where(rounded == 0, 1, rounded)
    # Where nothing is rounded, infinity among it, the logarithm itself.
    return jnp.where(rounded == x, jnp.log(u), jnp.where(rounded == 0, x, x * factor))


def _expm1(x: Any, **_: Any) -> Any:
    """``exp(x) - 1``, to a few roundings near 0, too, by the same theorem."""
    u = jnp.exp(x)
    rounded = u - 1
    near = x * rounded / jnp.log(jnp.where(rounded == 0, 2, u))
    return jnp.where(abs(x) > 0.5, rounded, jnp.where(rounded == 0, x, near))


def _integer_pow(x: Any, *, y: int, **_: Any) -> Any:
    """By squaring: a kernel has no power but the second."""
    result, square, left = None, x, abs(y)
    while left:
        if left % 2:
            result = square if result is None else result * square
        left //= 2
        square = square * square if left else square
    if result is None:
        return jnp.ones_like(x)
    return 1 / result if y < 0 else result


def _select_n(which: Any, *cases: Any, **_: Any) -> Any:
    """By two at a time: a kernel chooses by true and false, and a branch by its number."""
    if which.dtype == bool:
        return jax.lax.select_n(which, *cases)
    chosen = cases[0]
    for number, case in enumerate(cases[1:], 1):
        chosen = jax.lax.select_n(which >= number, chosen, case)
    return chosen


_SUBSTITUTES: dict[str, Callable[..., Any]] = {
    "add_any": lambda x, y, **_: jax.lax.add(x, y),
    "copy": lambda x, **_: x,
    "expm1": _expm1,
    "log1p": _log1p,
    "integer_pow": _integer_pow,
    "name": lambda x, **_: x,
    "select_n": _select_n,
    "stop_gradient": lambda x, **_: x,
}


def _evaluate(jaxpr: Any, consts: list[Any], args: list[Any]) -> list[Any]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(v: Any) -> Any:
        return v.val if isinstance(v, Literal) else known[v]

    for eqn in jaxpr.eqns:
        operands, name = list(map(read, eqn.invars)), str(eqn.primitive)
        if (inner := _inner(eqn)) is not None:
            results = _evaluate(*inner, operands)
        elif name in _SUBSTITUTES:
            results = [_SUBSTITUTES[name](*operands, **eqn.params)]
        else:
            params = eqn.primitive.get_bind_params(eqn.params)
            if name in _FLOW:
                params = {key: _rewritten(param) for key, param in params.items()}
            results = eqn.primitive.bind(*operands, **params)
            results = results if eqn.primitive.multiple_results else [results]
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _rewritten(param: Any) -> Any:
    """A parameter of an operation of control flow, its programs in operations of a kernel."""
    programs = [
        jax.make_jaxpr(partial(_evaluate_all, held))(*held.in_avals) for held in _held(param)
    ]
    if not programs:
        return param
    return tuple(programs) if isinstance(param, tuple) else programs[0]


def _evaluate_all(program: Any, *args: Any) -> list[Any]:
    return _evaluate(program.jaxpr, program.consts, list(args))


class Device(NamedTuple):
    """What a kernel's form depends on: a GPU's generation, and how many processors it has."""

    capability: tuple[int, int]
    processors: int


def device() -> Device | None:
    """The GPU of this process; None where there is none, as when exporting for one elsewhere."""
    if jax.default_backend() != "gpu":
        return None
    gpu = jax.local_devices()[0]
    major, _, minor = str(getattr(gpu, "compute_capability", "0.0")).partition(".")
    if not (major.isdigit() and minor.isdigit()):  # of another maker
        return Device((0, 0), 1)
    return Device((int(major), int(minor)), int(getattr(gpu, "core_count", 132)))
