"""The options that every recipe has."""

from __future__ import annotations

from dataclasses import dataclass

from rnn_jax.host.options import Options, option
from rnn_jax.runs import check_bytes

__all__ = ["RecipeOptions", "option"]


@dataclass(frozen=True)
class RecipeOptions(Options):
    """The options of every recipe.

    Raises:
      ValueError: the seed is out of range, an option is none of those its `Literal` names, or the
        hidden size is more than the memory holds.
    """

    quick: bool = option(False, "A small version, about a minute or less.")
    seed: int = option(0, "Seed of all that is random.")

    def __post_init__(self) -> None:
        self.seeded()
        self.check_literals()
        size = getattr(self, "hidden_size", 0)
        if size > 0:  # a recurrent matrix and its gradient, at least
            check_bytes(8 * size**2, f"--hidden-size {size} takes")
