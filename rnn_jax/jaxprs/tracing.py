"""How JAX runs a function: traced or not, with jit or without, and how it words its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["is_traced", "jit_disabled", "reverse_mode_only", "scan"]


def is_traced(*values: Any) -> bool:
    """Whether any of the values is not known while a program is traced, as under jit.

    Example:
      >>> is_traced(jnp.ones(2), None)
      False
    """
    return any(isinstance(value, jax.core.Tracer) for value in values)


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

    And on a CPU returns bfloat16 in a time that grows with the square of the length, before JAX
    0.11: to write one step XLA widens and narrows the whole array. Here it is narrowed at the end.

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
    if _stacks_bfloat16_slowly():
        return _narrowed_last(body, init, xs, length, reverse, unroll)
    result: tuple[Any, Any] = lax.scan(body, init, xs, length, reverse, unroll)
    return result


def _stacks_bfloat16_slowly() -> bool:
    # For another platform than the default one it is a matter of time alone, not of values.
    return jax.__version_info__ < (0, 11) and jax.default_backend() == "cpu"


def _narrowed_last(body: Callable[[Any, Any], tuple[Any, Any]], init: Any, *how: Any) -> Any:
    dtypes: Any = None

    def wide(y: Any) -> Any:
        return y.astype(jnp.float32) if _dtype(y) == jnp.bfloat16 else y

    def widened(carry: Any, x: Any) -> Any:
        nonlocal dtypes
        carry, ys = body(carry, x)
        dtypes = jax.tree.map(_dtype, ys)
        return carry, jax.tree.map(wide, ys)

    carry, ys = lax.scan(widened, init, *how)
    return carry, jax.tree.map(lambda y, d: y.astype(d) if d == jnp.bfloat16 else y, ys, dtypes)


def _dtype(leaf: Any) -> Any:
    return getattr(leaf, "dtype", jnp.result_type(leaf))


@contextmanager
def reverse_mode_only(message: str) -> Iterator[None]:
    """Turns JAX's error about forward mode into a ValueError; leaves any other error as it is."""
    try:
        yield
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise ValueError(message) from None
