"""``rnn-jax recipe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rnn_jax.cli.options import with_options
from rnn_jax.recipes import RECIPES, create_recipe_folder, load_recipe

__all__ = ["recipes"]

recipes = typer.Typer(
    help="Run a published system again; alone: list the recipes.", rich_markup_mode=None
)


@recipes.callback(invoke_without_command=True)
def _list(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        for name in RECIPES:
            print(f"{name:<22} {load_recipe(name).__doc__.splitlines()[0]}")


def _command(name: str) -> Any:
    recipe = load_recipe(name)

    @with_options(recipe.Options)
    def command(
        options: Any,
        given: set[str],
        out: Annotated[
            str | None, typer.Option(help="Folder of the results; default: a new one under runs/.")
        ] = None,
    ) -> None:
        own = out is None or not Path(out).exists()
        folder = create_recipe_folder(out)
        try:
            recipe.run(options, folder)
        except ValueError:
            # An empty folder would be in the way of the command put right.
            if own and not any(folder.path.iterdir()):
                folder.path.rmdir()
            raise

    command.__doc__ = recipe.__doc__
    return command


for _name in RECIPES:
    recipes.command(_name)(_command(_name))
