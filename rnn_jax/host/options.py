"""Settings that are also flags of the command line: declared, documented and checked once."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any, Literal

__all__ = ["Options", "option"]


def option(default: Any, help: str) -> Any:
    """A field of `Options`: its default, and the text beside its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


class Options:
    """The base of dataclasses whose fields are flags; an error names the flag.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Sizes(Options):
      ...     hidden_size: int = option(8, "Hidden units.")
      ...     def __post_init__(self):
      ...         self.at_least(1, "hidden_size")
      >>> Sizes(0)
      Traceback (most recent call last):
      ValueError: --hidden-size must be at least 1, not 0
    """

    def require(self, name: str, good: bool, wanted: str) -> None:
        """Raise ValueError, that the named option must be ``wanted``, unless it is good."""
        if not good:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} must be {wanted}, not {getattr(self, name)}")

    def at_least(self, least: int, *names: str) -> None:
        """Raise ValueError unless each of the named options is ``least`` or more, or None."""
        for name in names:
            value = getattr(self, name)
            self.require(name, value is None or value >= least, f"at least {least}")

    def above_zero(self, *names: str) -> None:
        """Raise ValueError unless each of the named options is finite and above 0, or None."""
        for name in names:
            value = getattr(self, name)
            self.require(name, value is None or 0 < value < math.inf, "finite and above 0")

    def fraction(self, *names: str) -> None:
        """Raise ValueError unless each of the named options lies in ``[0, 1)``."""
        for name in names:
            self.require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")

    def one_of(self, name: str, known: typing.Iterable[str]) -> None:
        """Raise ValueError unless the named option is one of those known."""
        known = tuple(known)
        self.require(name, getattr(self, name) in known, f"one of {', '.join(known)}")

    def seeded(self, name: str = "seed") -> None:
        """Raise ValueError unless the named option can seed every generator."""
        self.require(name, 0 <= getattr(self, name) < 2**32, "an integer from 0 to 2**32 - 1")

    def check_literals(self) -> None:
        """Raise ValueError unless every option whose type is a `Literal` is one of its values."""
        for name, hint in typing.get_type_hints(type(self)).items():
            if typing.get_origin(hint) is Literal:
                self.one_of(name, typing.get_args(hint))
