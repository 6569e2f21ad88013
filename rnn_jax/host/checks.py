"""Checks of hyperparameters: one sentence naming the argument and the mend."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

__all__ = ["check_renamed", "positive"]


def positive(*, least: int = 1, **sizes: Any) -> None:
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


# What keywords were called before.
_RENAMED = {"gate": "gradient_scale"}


def check_renamed(function: str, unknown: Mapping[str, Any]) -> None:
    """Raise TypeError if there is an unknown keyword, with its new name if it was renamed.

    Example:
      >>> check_renamed("unroll", {"gate": 1})
      Traceback (most recent call last):
      TypeError: unroll() got an unexpected keyword argument 'gate': it is called gradient_scale now
    """
    for name in unknown:
        hint = f": it is called {_RENAMED[name]} now" if name in _RENAMED else ""
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
