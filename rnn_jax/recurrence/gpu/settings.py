"""How the kernel is run."""

from __future__ import annotations

from dataclasses import dataclass

from rnn_jax.host.checks import positive

__all__ = ["Kernel"]

_VALUES: dict[str, tuple[bool | None, ...]] = {
    "ahead": (False, True),
    "resident": (None, False, True),
    "interpret": (False, True),
}


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """``backend="pallas"`` with its settings, which change how long a step takes, and no value.

    rows: rows of the batch that one block of threads runs side by side; None for the fewest that
      give every processor of the device one block.
    unroll: terms of the recurrent product that are written out between two tests of its loop.
    ahead: whether a step's inputs are read while the step before it is computed.
    resident: whether the recurrent matrix is kept in shared memory; None for where it fits. Where
      it is not, every step reads it again, from the device's cache.
    interpret: run by JAX's interpreter of such kernels, on the host: for tests.

    Raises:
      ValueError: ``rows`` or ``unroll`` is not a positive integer, or another setting has no
        such value.

    Example:
      >>> Kernel(rows=2).unroll
      8
    """

    rows: int | None = None
    unroll: int = 8
    ahead: bool = True
    resident: bool | None = None
    interpret: bool = False

    def __post_init__(self) -> None:
        positive(unroll=self.unroll)
        if self.rows is not None:
            positive(rows=self.rows)
        for name, values in _VALUES.items():
            if not any(getattr(self, name) is value for value in values):
                raise ValueError(f"{name} must be one of {values}, not {getattr(self, name)!r}")
