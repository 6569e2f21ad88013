"""The options that every recipe has."""

from __future__ import annotations

from dataclasses import dataclass

from rnn_jax.host.options import Options, option

__all__ = ["RecipeOptions", "option"]


@dataclass(frozen=True)
class RecipeOptions(Options):
    """The options of every recipe.

    Raises:
      ValueError: the seed is out of range, or an option is none of those its `Literal` names.
    """

    quick: bool = option(False, "A small version, about a minute or less.")
    seed: int = option(0, "Seed of all that is random.")

    def __post_init__(self) -> None:
        self.seeded()
        self.check_literals()
