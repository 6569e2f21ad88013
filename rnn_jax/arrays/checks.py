"""Whether a value is an array of numbers at all, said in one sentence."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

__all__ = ["all_finite", "check_array", "is_key", "whole_numbers"]


def check_array(name: str, value: Any, layout: str, *, real: bool = True) -> None:
    """Raise ValueError unless ``value`` is an array, of JAX or NumPy, and real where it must be.

    Example:
      >>> check_array("the logits", [[1.0]], "float[T, B, V]")
      Traceback (most recent call last):
      ValueError: the logits must be an array, float[T, B, V], not list: pass jnp.asarray(…) of it
    """
    kind = type(value).__name__
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        remedy = ": pass jnp.asarray(…) of it" if isinstance(value, list | tuple) else ""
        raise ValueError(f"{name} must be an array, {layout}, not {kind}{remedy}")
    if real and jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be real, not {value.dtype}: pass {layout}")


def all_finite(tree: Any) -> jax.Array:
    """Whether no number among the arrays of a tree is NaN or infinite, ``bool[]``.

    Example:
      >>> bool(all_finite({"w": jnp.ones(2), "n": 3})), bool(all_finite([jnp.array([1, jnp.nan])]))
      (True, False)
    """
    leaves = (jnp.asarray(leaf) for leaf in jax.tree.leaves(tree) if not is_key(leaf))
    inexact = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in inexact] or [jnp.array(True)]))


def is_key(leaf: Any) -> bool:
    """Whether a leaf holds typed keys of ``jax.random.key``."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def whole_numbers(name: str, values: ArrayLike) -> np.ndarray:
    """``int[N]`` whose values 32 bits hold; anything else would be cut down without a word.

    Raises:
      ValueError: these are no such numbers.
    """
    found = np.asarray(values)
    if found.ndim != 1 or not (np.issubdtype(found.dtype, np.integer) or not found.size):
        raise ValueError(
            f"{name} must be integers in one row, int[N], not {found.dtype}{list(found.shape)}"
        )
    if found.size and not (-(2**31) <= found.min() and found.max() < 2**31):
        raise ValueError(f"{name} must lie within 32 bits, not {found.min()} … {found.max()}")
    return found
