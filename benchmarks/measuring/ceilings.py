"""The fastest products and updates of warm memory, by XLA and NumPy, on all cores and on one.

A kernel is a function that repeats one piece of work many times and waits for its end. Nothing is
allocated meanwhile: an array that is written for the first time costs a page fault every 4 KiB,
which is several times the cost of writing it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measuring.implementation import Prepared, Unavailable
from benchmarks.measuring.worker import Worker

__all__ = ["PRODUCT", "UPDATE", "Ceiling", "prepared"]

PRODUCT, UPDATE = "product", "update"
_FLOPS, _BYTES = 1e10, 4e8  # of a call: some hundredths of a second on a CPU's core
_ACCELERATED = 100  # as much more on an accelerator


class Ceiling(NamedTuple):
    """One kernel: a product of ``[size, size]`` matrices, or an update of ``size`` bytes.

    one_core: in a process of its own that is bound to one core.
    """

    kind: str
    size: int
    dtype: str = "float32"
    precision: str = "highest"
    one_core: bool = False

    @property
    def amount(self) -> float:
        """Operations of a product; of an update the bytes that it reads and writes."""
        return 2.0 * self.size**3 if self.kind == PRODUCT else 2.0 * self.size

    @property
    def repeats(self) -> int:
        """How often a call repeats it."""
        most = _FLOPS if self.kind == PRODUCT else _BYTES
        most *= 1 if jax.default_backend() == "cpu" else _ACCELERATED
        return max(1, round(most / self.amount))


def prepared(ceiling: Ceiling, name: str) -> Prepared:
    """A kernel, whose row has as its value the best call's speed.

    Raises:
      Unavailable: nothing binds a process to one core here.
    """
    call = _on_one_core(ceiling, name) if ceiling.one_core else kernel(ceiling, name)
    seconds: list[float] = []

    def timed() -> None:
        seconds.append(call())

    timed()
    seconds.clear()  # it may have compiled
    unit = "GFLOP/s" if ceiling.kind == PRODUCT else "GB/s"

    def facts() -> Mapping[str, Any]:
        best = ceiling.amount * ceiling.repeats / min(seconds) / 1e9
        return {"value": best, "unit": unit}

    return Prepared(timed, dict, steps=ceiling.repeats, facts=facts)


def kernel(ceiling: Ceiling, name: str) -> Callable[[], float]:
    """A function that runs it and gives its seconds."""
    makers = {
        ("xla", PRODUCT): _xla_product,
        ("xla", UPDATE): _xla_update,
        ("numpy", PRODUCT): _numpy_product,
        ("numpy", UPDATE): _numpy_update,
    }
    run = makers[name, ceiling.kind](ceiling)

    def call() -> float:
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    return call


def _matrices(ceiling: Ceiling, count: int) -> list[np.ndarray]:
    """Products of any number of them stay near 1."""
    rng = np.random.default_rng(0)
    shape = (ceiling.size, ceiling.size)
    return [rng.standard_normal(shape, np.float32) / ceiling.size**0.5 for _ in range(count)]


def _xla_product(ceiling: Ceiling) -> Callable[[], object]:
    first, factor = (jnp.asarray(m, ceiling.dtype) for m in _matrices(ceiling, 2))
    # Of 16 bits with sums in float32: on a CPU XLA before JAX 0.11 else widens both factors.
    sums = jnp.float32 if first.dtype.itemsize == 2 else first.dtype

    def step(x: jax.Array, a: jax.Array) -> jax.Array:
        return jnp.matmul(x, a, preferred_element_type=sums).astype(x.dtype)

    with jax.default_matmul_precision(cast(Any, ceiling.precision)):
        return _in_place(step, ceiling.repeats, first, factor)


def _xla_update(ceiling: Ceiling) -> Callable[[], object]:
    x = jnp.ones(ceiling.size // 4, jnp.float32)
    return _in_place(lambda x: -x, ceiling.repeats, x)


def _in_place(
    step: Callable[..., jax.Array], repeats: int, x: jax.Array, *fixed: jax.Array
) -> Callable[[], jax.Array]:
    """``x = step(x, *fixed)``, so many times in one call, in the same memory in every call."""

    def loop(x: jax.Array, *fixed: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, repeats, lambda _, x: step(x, *fixed), x)

    run = jax.jit(loop, donate_argnums=0).lower(x, *fixed).compile()

    def call() -> jax.Array:
        nonlocal x
        x = run(x, *fixed).block_until_ready()
        return x

    return call


def _numpy_product(ceiling: Ceiling) -> Callable[[], object]:
    a, b, out = (m.astype(ceiling.dtype) for m in _matrices(ceiling, 3))

    def call() -> None:
        for _ in range(ceiling.repeats):
            np.matmul(a, b, out=out)

    return call


def _numpy_update(ceiling: Ceiling) -> Callable[[], object]:
    """Each core a part of the array of its own, so that it stays in that core's cache."""
    cores = 1 if ceiling.one_core else _cores()
    parts = [np.ones(ceiling.size // 4 // cores, np.float32) for _ in range(cores)]
    pool = ThreadPoolExecutor(cores)

    def repeat(part: np.ndarray) -> None:
        for _ in range(ceiling.repeats):
            np.negative(part, out=part)

    return lambda: list(pool.map(repeat, parts))


def _cores() -> int:
    """Those that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable is not None else os.cpu_count() or 1


def _on_one_core(ceiling: Ceiling, name: str) -> Callable[[], float]:
    if not hasattr(os, "sched_setaffinity"):
        raise Unavailable("this system does not bind a process to one core")
    return cast(Callable[[], float], partial(_bound_process().call, "run", ceiling, name))


@cache
def _bound_process() -> Worker:
    # The threads of a BLAS are made when it is imported.
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {
        **dict.fromkeys(names, "1"),
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }
    return Worker(f"{__name__}:bound", environment=environment)


def bound() -> Mapping[str, Callable[..., Any]]:
    """Bind this process to its first core; functions for a `Worker`."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    made = cache(kernel)
    latest: list[Any] = []

    def run(ceiling: Ceiling, name: str) -> float:
        if latest != [ceiling]:  # what an earlier one holds in memory is of no further use
            made.cache_clear()
            latest[:] = [ceiling]
        with jax.enable_x64(ceiling.dtype == "float64"):
            return made(ceiling, name)()

    return {"run": run}
