"""How fresh parameters are drawn, as options of every cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnn_jax.types import Array

__all__ = ["INITIALIZERS", "Initializer", "check_initializer", "draw"]

# A name of the table, or a function (key, shape, dtype) as in jax.nn.initializers.
Initializer = str | Callable[..., Any]

_scaled = jax.nn.initializers.variance_scaling


def _uniform(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    bound = 1 / math.sqrt(shape[0])
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _uniform_fan_out(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    bound = 1 / math.sqrt(shape[-1])
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _zeros(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    return jnp.zeros(shape, dtype)


INITIALIZERS: dict[str, Callable[..., Any]] = {
    "uniform": _uniform,  # in ±1/√fan-in, the number of rows
    "uniform_fan_out": _uniform_fan_out,  # in ±1/√H: PyTorch's, for biases as well
    "orthogonal": jax.nn.initializers.orthogonal(),
    "glorot_uniform": _scaled(1.0, "fan_avg", "uniform"),
    "glorot_normal": _scaled(1.0, "fan_avg", "normal"),
    "lecun_normal": _scaled(1.0, "fan_in", "truncated_normal"),
    "zeros": _zeros,
}


def check_initializer(**options: Initializer) -> None:
    """Raise ValueError unless every named option is a name of `INITIALIZERS` or a function."""
    for name, how in options.items():
        if not callable(how) and how not in INITIALIZERS:
            raise ValueError(
                f"{name} must be one of {', '.join(INITIALIZERS)}, or a function of "
                f"(key, shape, dtype), not {how!r}"
            )


def draw(how: Initializer, key: Array, shape: tuple[int, ...], blocks: int = 1) -> Array:
    """``blocks`` arrays of ``shape``, drawn one by one and joined along the last axis.

    One block a gate: an orthogonal recurrent matrix is orthogonal gate by gate, and a gate's fans
    are its own.

    Example:
      >>> draw("orthogonal", jax.random.key(0), (3, 3), blocks=2).shape
      (3, 6)
    """
    function = INITIALIZERS[how] if isinstance(how, str) else how
    dtype = jnp.zeros(()).dtype
    drawn = [function(key, shape, dtype) for key in jax.random.split(key, blocks)]
    return drawn[0] if blocks == 1 else jnp.concatenate(drawn, axis=-1)
