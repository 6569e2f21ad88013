"""What every recipe can be told."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["RecipeOptions", "option"]


def option(default: Any, help: str) -> Any:
    """A field of a recipe's ``Options``: its default, and the text beside its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class RecipeOptions:
    """The options of every recipe.

    Raises:
      ValueError: the seed is out of range, or an option is none of those its `Literal` names.
    """

    quick: bool = option(False, "A small version, about a minute or less.")
    seed: int = option(0, "Seed of all that is random.")

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must be an integer from 0 to 2**32 - 1, not {self.seed}")
        for name, hint in typing.get_type_hints(type(self)).items():
            known = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
            if known and getattr(self, name) not in known:
                raise ValueError(
                    f"{_flag(name)} must be one of {', '.join(known)}, not {getattr(self, name)}"
                )

    def at_least(self, least: int, *names: str) -> None:
        """Raise ValueError unless each of the named options is ``least`` or more."""
        for name in names:
            if getattr(self, name) < least:
                raise ValueError(
                    f"{_flag(name)} must be at least {least}, not {getattr(self, name)}"
                )

    def positive(self, *names: str) -> None:
        """Raise ValueError unless each of the named options is a finite number above 0."""
        for name in names:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{_flag(name)} must be finite and above 0, not {getattr(self, name)}"
                )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
