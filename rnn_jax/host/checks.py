"""Checks of hyperparameters: one sentence that names the argument and the remedy."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, SupportsIndex

__all__ = ["check_members", "check_parts", "check_renamed", "member", "not_negative", "positive"]


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


def check_members(owner: object, params: Any, *names: str) -> None:
    """Raise ValueError unless the parameters are a dict with these entries.

    Example:
      >>> check_members(object(), {"w_ih": 1}, "w_ih", "w_hh")
      Traceback (most recent call last):
      ValueError: the parameters lack w_hh: pass those that object's init gives
    """
    if not isinstance(params, Mapping):
        problem = f"must be a dict, not {type(params).__name__}"
    elif missing := [name for name in names if name not in params]:
        problem = f"lack {' and '.join(missing)}"
    else:
        return
    raise ValueError(
        f"the parameters {problem}: pass those that {type(owner).__name__}'s init gives"
    )


def member(owner: object, params: Any, name: str) -> Any:
    """One entry of the parameters; a ValueError, as by `check_members`, where there is none.

    Example:
      >>> member(object(), {"w_ih": 1}, "w_ih")
      1
    """
    check_members(owner, params, name)
    return params[name]


def check_parts(owner: object, carry: Any, count: int) -> None:
    """Raise ValueError unless the carry is a tuple or list of ``count`` parts.

    Example:
      >>> check_parts(object(), (1,), 2)
      Traceback (most recent call last):
      ValueError: the carry of object has 2 parts, not 1: pass initial_carry(batch_shape) or None
    """
    if not isinstance(carry, tuple | list) or len(carry) != count:
        given = len(carry) if isinstance(carry, tuple | list) else type(carry).__name__
        raise ValueError(
            f"the carry of {type(owner).__name__} has {count} parts, not {given}: pass "
            "initial_carry(batch_shape) or None"
        )


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
