"""The command ``rnn-jax``."""

from __future__ import annotations

from typing import Annotated

import typer

from rnn_jax.cli import (
    compare,
    config,
    evaluate,
    export,
    gradcheck,
    runs,
    sample,
    tokenize,
    train,
)
from rnn_jax.cli.options import SectionedCommand, run
from rnn_jax.cli.recipe import recipes
from rnn_jax.cli.version import version

__all__ = ["app", "main"]

app = typer.Typer(
    name="rnn-jax",
    help="Recurrent networks in JAX: train, evaluate and sample language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (
    train.train,
    config.config,
    evaluate.evaluate,
    sample.sample,
    export.export,
    runs.runs,
    compare.compare,
    gradcheck.gradcheck,
    tokenize.tokenize,
):
    app.command(cls=SectionedCommand)(_command)
app.add_typer(recipes, name="recipe")


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=version,
            is_eager=True,
            help="Print the versions of this package, of Python and of JAX.",
        ),
    ] = False,
) -> None: ...


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run(app, arguments)
