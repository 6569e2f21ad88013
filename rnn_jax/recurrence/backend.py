"""The forms of a recurrence that can be asked for."""

from __future__ import annotations

from typing import Literal, get_args

from rnn_jax.recurrence.gpu.settings import Kernel

__all__ = ["BACKENDS", "Backend", "kernel_of"]

Named = Literal["auto", "scan", "pallas"]
Backend = Named | Kernel
BACKENDS: tuple[Named, ...] = get_args(Named)


def kernel_of(backend: Backend) -> Kernel | None:
    """The kernel that was asked for.

    Raises:
      ValueError: an unknown backend.

    Example:
      >>> kernel_of("pallas") == Kernel(), kernel_of("auto")
      (True, None)
    """
    if isinstance(backend, Kernel):
        return backend
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS} or a Kernel, not {backend!r}")
    return Kernel() if backend == "pallas" else None
