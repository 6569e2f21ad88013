"""The ceilings of this machine, measured before anything else: a large product and a large copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.measuring.flops import Cost
from rnn_jax.recipes.reference_step import interleaved

__all__ = ["Roofline", "measure_roofline"]


class Roofline(NamedTuple):
    """The ceilings, each the best of a few measurements."""

    gemm_gflops_per_s: float
    copy_gb_per_s: float

    def bound(self, cost: Cost) -> float:
        """GFLOP/s that no code with this many operations and bytes exceeds here.

        Example:
          >>> Roofline(100.0, 10.0).bound(Cost(flops=8.0, bytes=4.0))
          20.0
        """
        return min(self.gemm_gflops_per_s, self.copy_gb_per_s * cost.flops / cost.bytes)


def measure_roofline(dtype: str, *, quick: bool) -> Roofline:
    """Measure the default device, in ``dtype`` and the precision that is set.

    The product is square. The copy negates, so that it cannot be elided; it reads and writes.
    """
    host = jax.default_backend() == "cpu"
    size = 512 if quick else 2048 if host else 8192
    count = 2**22 if quick else 2**26 if host else 2**29
    keys = jax.random.split(jax.random.key(0), 3)
    a, b = (jax.random.normal(key, (size, size), dtype) for key in keys[:2])
    long = jax.random.normal(keys[2], (count,), jnp.float32)
    product = _best(jax.jit(jnp.matmul), a, b)
    copy = _best(jax.jit(jnp.negative), long)
    return Roofline(2.0 * size**3 / product / 1e9, 2.0 * long.nbytes / copy / 1e9)


def _best(function: Callable[..., Any], *arguments: Any) -> float:
    def call() -> None:
        function(*arguments).block_until_ready()

    call()
    return min(interleaved({"": call}, 7)[""])
