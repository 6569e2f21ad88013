"""Checks of hyperparameters: one sentence that names the argument and the remedy."""

from __future__ import annotations

import operator
from typing import SupportsIndex

__all__ = ["positive"]


def positive(*, least: int = 1, **sizes: SupportsIndex) -> None:
    """Raise ValueError unless every named argument is an integer of at least ``least``.

    Example:
      >>> positive(hidden_size=0)
      Traceback (most recent call last):
      ValueError: hidden_size must be an integer of at least 1, not 0
    """
    for name, size in sizes.items():
        try:
            good = not isinstance(size, bool) and operator.index(size) >= least
        except TypeError:
            good = False
        if not good:
            raise ValueError(f"{name} must be an integer of at least {least}, not {size!r}")
