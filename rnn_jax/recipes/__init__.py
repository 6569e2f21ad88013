"""Recipes: published systems run again, each one module that uses only the public API.

A recipe is a module with ``Options``, a frozen dataclass below `RecipeOptions` whose docstring is
the command's help, and ``run(options, folder)``, which prints, writes into a `RecipeFolder`, and
ends with a table "published / here". ``rnn-jax recipe NAME`` runs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rnn_jax.recipes.folder import RecipeFolder, create_recipe_folder
from rnn_jax.recipes.options import RecipeOptions, option

__all__ = [
    "RECIPES",
    "RecipeFolder",
    "RecipeOptions",
    "create_recipe_folder",
    "load_recipe",
    "option",
]

RECIPES = {
    "binary-addition": "binary_addition",
    "operation-graph": "operation_graph",
    "word-model": "word_model",
    "time-machine": "time_machine",
    "deep-stack": "deep_stack",
    "next-token": "next_token",
    "war-and-peace": "war_and_peace",
    "echo-state": "echo_state",
    "sequence-to-sequence": "sequence_to_sequence",
}


def load_recipe(name: str) -> Any:
    """The module of a recipe.

    Raises:
      ValueError: there is none of that name.

    Example:
      >>> load_recipe("time-machine").Options().seed
      0
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return import_module(f"rnn_jax.recipes.{RECIPES[name]}")
