"""Programs that stand for a platform on which there is none."""

from __future__ import annotations

from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

__all__ = ["refuse"]


def refuse(message: str, shapes: Any, operands: Any) -> Any:
    """A program of results of these ``shapes`` that cannot be compiled: ValueError ``message``.

    It is for the platforms that a program might be compiled for and is not: those are known only
    when it is.
    """
    leaves, structure = jax.tree.flatten(shapes)
    results = _refused.bind(
        *jax.tree.leaves(operands),
        message=message,
        shapes=tuple((leaf.shape, leaf.dtype) for leaf in leaves),
    )
    return jax.tree.unflatten(structure, results)


def _raise(*_: Any, message: str, **__: Any) -> Any:
    raise ValueError(message)


def _types(*_: Any, message: str, shapes: Any) -> Any:
    return [jax.core.ShapedArray(shape, dtype) for shape, dtype in shapes]


def _batched(args: Any, axes: Any, *, message: str, shapes: Any) -> Any:
    size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)
    shapes = tuple(((size, *shape), dtype) for shape, dtype in shapes)
    return _refused.bind(*args, message=message, shapes=shapes), [0] * len(shapes)


_refused: Any = Primitive("refused")
_refused.multiple_results = True
_refused.def_impl(_raise)
_refused.def_abstract_eval(_types)
# The first derivative is a program of its own that is refused; this is met by that of another.
ad.primitive_jvps[_refused] = _raise
batching.primitive_batchers[_refused] = _batched
mlir.register_lowering(_refused, _raise)
