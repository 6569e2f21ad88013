"""Masks ``bool[T, B]``: where False, a carry is held and an output is zero."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.arrays.checks import check_array
from rnn_jax.arrays.tokens import as_index
from rnn_jax.jaxprs import is_traced
from rnn_jax.types import Array

__all__ = [
    "at_first_valid",
    "at_last_valid",
    "check_mask",
    "expand",
    "fill_masked",
    "last_valid",
    "length_mask",
    "select",
]

Tree = TypeVar("Tree")  # a pytree of arrays


def length_mask(lengths: Array, length: int) -> Array:
    """A mask that is True on the first ``lengths[b]`` of ``length`` steps.

    ``mask[t, b] = t < lengths[b]``.

    Args:
      lengths: ``int[B]`` (or any batch shape), each in ``0 … T``.
      length: ``T``, the number of steps of the padded sequences.

    Returns:
      ``bool[T, B]``.

    Raises:
      ValueError: a length is negative or exceeds ``T`` (not checked under jit, where values are
        unknown), or lengths are not integers.

    Example:
      >>> import jax.numpy as jnp
      >>> length_mask(jnp.array([2, 0, 3]), 3).astype(int)
      Array([[1, 0, 1],
             [1, 0, 1],
             [0, 0, 1]], dtype=int32)
    """
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(f"lengths must be integers, not {lengths.dtype}: count the valid steps")
    if not is_traced(lengths) and lengths.size:
        low, high = np.asarray(lengths).min(), np.asarray(lengths).max()
        if low < 0 or high > length:
            raise ValueError(
                f"lengths must lie in 0 … {length}, but range from {low} to {high}: "
                "pass the padded length as the second argument"
            )
    index = as_index(lengths)
    if jnp.issubdtype(lengths.dtype, jnp.unsignedinteger):
        index = jnp.where(index < 0, length, index)  # too large for a signed one
    steps = jnp.arange(length, dtype=index.dtype)
    return steps.reshape((length,) + (1,) * index.ndim) < index[None]


def check_mask(mask: Array | None, shape: tuple[int, ...], name: str = "mask") -> None:
    """Raise ValueError unless ``mask`` is None or ``bool`` of exactly ``shape``, ``[T, B]``."""
    if mask is None:
        return
    check_array(f"the {name}", mask, "bool[T, B]")
    if mask.shape != shape:
        has = "have" if name.endswith("s") else "has"
        raise ValueError(
            f"the {name} {has} shape {mask.shape}, but the inputs have steps and rows {shape}: "
            "pass one of that shape"
        )
    if mask.dtype != bool:
        raise ValueError(f"the {name} must be boolean, not {mask.dtype}: pass {name}.astype(bool)")


def expand(flags: Array, leaf: Array) -> Array:
    """``flags`` with trailing axes of size one, so that it broadcasts against ``leaf``."""
    return flags.reshape(flags.shape + (1,) * (leaf.ndim - flags.ndim))


def select(flags: Array, if_true: Tree, if_false: Tree) -> Tree:
    """Leaf-wise ``where`` over two pytrees whose leading axes are those of ``flags``."""
    return jax.tree.map(lambda a, b: jnp.where(expand(flags, a), a, b), if_true, if_false)


def fill_masked(xs: Array, mask: Array | None) -> Array:
    """``xs`` with zeros at masked steps: padding, NaN included, must not reach a product.

    Masking the product instead would not do: in the backward pass, 0 * NaN is NaN.
    """
    if mask is None:
        return xs
    xs = jnp.asarray(xs)
    return jnp.where(expand(mask, xs), xs, jnp.zeros((), xs.dtype))


def last_valid(mask: Array) -> Array:
    """``int[B]``: the position of the last True in each row of ``bool[T, B]``, or -1."""
    positions = jnp.arange(mask.shape[0]).reshape((-1,) + (1,) * (mask.ndim - 1))
    return jnp.where(mask, positions, -1).max(axis=0, initial=-1)


def at_last_valid(ys: Array, mask: Array | None) -> Array:
    """``ys [T, B, …]`` at each row's last valid step; zeros for a row without one."""
    if not ys.shape[0]:
        return jnp.zeros(ys.shape[1:], ys.dtype)
    if mask is None:
        return ys[-1]
    last = last_valid(mask)
    picked = jnp.take_along_axis(ys, expand(jnp.maximum(last, 0)[None], ys), axis=0)[0]
    return fill_masked(picked, last >= 0)


def at_first_valid(ys: Array, mask: Array | None) -> Array:
    """``ys [T, B, …]`` at each row's first valid step; zeros for a row without one."""
    return at_last_valid(ys[::-1], None if mask is None else mask[::-1])
