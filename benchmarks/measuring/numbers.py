"""How JAX computes during a run: dtypes, the precision of products, nothing from a cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import jax

__all__ = ["computing_in"]


@contextlib.contextmanager
def computing_in(dtype: str, precision: str) -> Iterator[None]:
    """Products of this precision, 64 bits where the dtype has them, every program compiled anew."""
    config = cast(Any, jax.config)
    cached = config.jax_enable_compilation_cache
    # A program that comes from a cache on the disk would seem to compile in no time.
    config.update("jax_enable_compilation_cache", False)
    try:
        with jax.default_matmul_precision(precision), jax.enable_x64(dtype == "float64"):
            yield
    finally:
        config.update("jax_enable_compilation_cache", cached)
