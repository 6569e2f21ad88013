"""How arrays lie in memory inside a compiled program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rnn_jax.jaxprs.tracing import is_traced

__all__ = ["portable", "row_major"]

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
      >>> import jax.numpy as jnp
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
