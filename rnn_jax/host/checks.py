"""Checks of hyperparameters: one sentence that names the argument and the remedy."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import SupportsIndex

__all__ = ["not_negative", "positive"]


def positive(**sizes: SupportsIndex) -> None:
    """Raise ValueError unless every named argument is an integer of at least 1.

    Example:
      >>> positive(hidden_size=0)
      Traceback (most recent call last):
      ValueError: hidden_size must be an integer of at least 1, not 0
    """
    _at_least(1, sizes)


def not_negative(**sizes: SupportsIndex) -> None:
    """Raise ValueError unless every named argument is an integer of at least 0.

    Example:
      >>> not_negative(length=0, steps=-1)
      Traceback (most recent call last):
      ValueError: steps must be an integer of at least 0, not -1
    """
    _at_least(0, sizes)


def _at_least(least: int, sizes: Mapping[str, SupportsIndex]) -> None:
    for name, size in sizes.items():
        try:
            good = not isinstance(size, bool) and operator.index(size) >= least
        except TypeError:
            good = False
        if not good:
            raise ValueError(f"{name} must be an integer of at least {least}, not {size!r}")
