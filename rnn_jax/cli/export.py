"""``rnn-jax export``."""

from __future__ import annotations

from typing import Annotated

import typer

from rnn_jax.runs.export import FORMATS, FormatName, export_run

__all__ = ["export"]

_FORMATS = "; ".join(f"{name}: {form.about}" for name, form in FORMATS.items())


def export(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    format: Annotated[FormatName, typer.Option(help=f"{_FORMATS}.")],
    out: Annotated[
        str | None,
        typer.Option(help="The folder to make.  [default: exports/NAME-FORMAT]"),
    ] = None,
    best: Annotated[
        bool,
        typer.Option("--best", help="The parameters of the lowest loss, not the latest."),
    ] = False,
) -> None:
    """The model of a run in a folder of its own, to be used without rnn_jax."""
    folder = export_run(run, format, out, best=best)
    print(f"exported to {folder}; {folder / 'README.md'} has Python that runs it")
