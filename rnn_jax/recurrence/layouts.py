"""What the inputs tell: the batch shape, what fits beside them, the layout of results."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rnn_jax.arrays.checks import check_array
from rnn_jax.arrays.masking import check_mask
from rnn_jax.arrays.tokens import is_ids
from rnn_jax.jaxprs import spec_of
from rnn_jax.types import Array, Carry, Steps

__all__ = ["batch_shape_of", "checked_steps", "layouts_of"]


def batch_shape_of(xs: Array) -> tuple[int, ...]:
    """The batch shape of ``float[T, B, D]`` or ``int[T, B]``.

    Raises:
      ValueError: there is no time axis, or it is no array of real numbers or ids.
    """
    check_array("a sequence", xs, "float[T, B, D] or int[T, B]")
    if xs.ndim < (1 if is_ids(xs) else 2):
        raise ValueError(
            f"a sequence of shape {xs.shape} and dtype {xs.dtype} has no time axis: pass "
            "float[T, B, D] or int[T, B] (the batch shape may be empty)"
        )
    return xs.shape[1:] if is_ids(xs) else xs.shape[1:-1]


def checked_steps(xs: Array, steps: Steps) -> Steps:
    """What travels beside a sequence, as arrays that have its steps and rows.

    Raises:
      ValueError: one of them is no array, or is of another shape or dtype.
    """
    shape = (xs.shape[0], *batch_shape_of(xs))
    mask, scale, resets = (
        None if value is None else _array(name, value)
        for name, value in zip(Steps._fields, steps, strict=True)
    )
    check_mask(mask, shape)
    check_mask(resets, shape, "resets")
    if scale is not None and scale.shape != shape:
        raise ValueError(
            f"the gradient_scale has shape {scale.shape}, but the inputs have steps and rows "
            f"{shape}: pass one of that shape"
        )
    return Steps(mask, scale, resets)


def _array(name: str, value: Any) -> Array:
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise ValueError(f"{name} must be an array [T, B] or None, not of type {kind}") from None


def layouts_of(carry: Carry, xs: Array, *, every: bool) -> tuple[Any, Any]:
    """Layouts for `in_auto_mode` of the new carry and the outputs: those of the rows of ``xs``.

    A carry that was handed in keeps its own, so that a loop can hand it on.
    """
    leading = 1 + len(batch_shape_of(xs))
    steps = spec_of(xs)[:leading]
    if every:
        return steps, steps
    return (steps[1:] if carry is None else list(map(spec_of, jax.tree.leaves(carry)))), steps
