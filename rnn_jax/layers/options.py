"""What the ``apply`` of somebody else's layer or model takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

__all__ = ["check_takes"]


def check_takes(layer: Any, names: Iterable[str]) -> None:
    """Raise ValueError unless ``layer.apply`` takes each of the named options, as `Along` has them.

    Example:
      >>> class Mean:
      ...     def apply(self, params, carry, xs, *, mask=None, key=None): ...
      >>> check_takes(Mean(), ["mask", "resets"])
      Traceback (most recent call last):
      ValueError: the apply of Mean takes no resets: add resets=None to its arguments, or pass none
    """
    taken = inspect.signature(layer.apply).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    for name in names:
        if name not in taken:
            raise ValueError(
                f"the apply of {type(layer).__name__} takes no {name}: add {name}=None to its "
                "arguments, or pass none"
            )
