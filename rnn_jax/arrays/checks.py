"""Whether a value is an array of numbers at all, said in one sentence."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["check_array"]


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
