"""The forms of a recurrence that can be asked for."""

from __future__ import annotations

from typing import Literal

from rnn_jax.recurrence.gpu.settings import Kernel

__all__ = ["Backend", "kernel_of"]

Backend = Literal["auto", "scan", "pallas"] | Kernel
_NAMES = ("auto", "scan", "pallas")


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
    if backend not in _NAMES:
        raise ValueError(f"backend must be one of {_NAMES} or a Kernel, not {backend!r}")
    return Kernel() if backend == "pallas" else None
