"""How fresh parameters are drawn, as options of every cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnn_jax.types import Array

__all__ = ["INITIALIZERS", "Initializer", "check_initializer", "draw", "uniform_fan_in"]

# A name of the table, or a function (key, shape, dtype) as in jax.nn.initializers.
Initializer = str | Callable[..., Any]

_scaled = jax.nn.initializers.variance_scaling

# What read-outs are drawn from: the distribution of "uniform" below, but not its last bits.
uniform_fan_in = _scaled(1 / 3, "fan_in", "uniform")


def _uniform(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    bound = 1 / math.sqrt(shape[0])
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _uniform_fan_out(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    bound = 1 / math.sqrt(shape[-1])
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _zeros(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
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


# The others need the two fans of a matrix.
_OF_BIASES = ("uniform", "uniform_fan_out", "zeros")


def check_initializer(*, b_init: Initializer = "zeros", **matrices: Initializer) -> None:
    """Raise ValueError unless every option is a function or a name of `INITIALIZERS` that fits.

    Example:
      >>> check_initializer(b_init="orthogonal")
      Traceback (most recent call last):
      ValueError: b_init must be one of uniform, uniform_fan_out, zeros, or a function of \
(key, shape, dtype), not 'orthogonal'
    """
    for name, how in {**matrices, "b_init": b_init}.items():
        known = _OF_BIASES if name == "b_init" else tuple(INITIALIZERS)
        if not callable(how) and how not in known:
            raise ValueError(
                f"{name} must be one of {', '.join(known)}, or a function of "
                f"(key, shape, dtype), not {how!r}"
            )


def draw(how: Initializer, key: Array, shape: tuple[int, ...], blocks: int = 1) -> Array:
    """``blocks`` arrays of ``shape``, drawn one by one and joined along the last axis.

    One block a gate: an orthogonal recurrent matrix is orthogonal gate by gate, and a gate's fans
    are its own.

    Raises:
      ValueError: a function of the caller's returned another shape.

    Example:
      >>> draw("orthogonal", jax.random.key(0), (3, 3), blocks=2).shape
      (3, 6)
    """
    function = INITIALIZERS[how] if isinstance(how, str) else how
    dtype = jnp.zeros(()).dtype
    drawn = [
        jnp.asarray(function(key, shape, dtype), dtype) for key in jax.random.split(key, blocks)
    ]
    if drawn[0].shape != shape:
        raise ValueError(
            f"the initialiser {how} returned shape {drawn[0].shape} for {shape}: return an array "
            "of the shape it is given"
        )
    return drawn[0] if blocks == 1 else jnp.concatenate(drawn, axis=-1)
