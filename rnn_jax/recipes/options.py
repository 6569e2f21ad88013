"""What every recipe can be told."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

__all__ = ["RecipeOptions", "option"]


def option(default: Any, help: str) -> Any:
    """A field of a recipe's ``Options``: its default, and the text beside its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class RecipeOptions:
    """The options of every recipe.

    Raises:
      ValueError: the seed is out of range.
    """

    quick: bool = option(False, "A small version, about a minute or less.")
    seed: int = option(0, "Seed of all that is random.")

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must be an integer from 0 to 2**32 - 1, not {self.seed}")

    def at_least(self, least: int, *names: str) -> None:
        """Raise ValueError unless each of the named options is ``least`` or more."""
        for name in names:
            if getattr(self, name) < least:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} must be at least {least}, not {getattr(self, name)}")
