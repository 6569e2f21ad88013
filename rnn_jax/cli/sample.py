"""``rnn-jax sample``."""

from __future__ import annotations

from typing import Annotated

import typer

from rnn_jax.cli.texts import shown
from rnn_jax.runs import open_folder, sample_texts

__all__ = ["sample"]


def sample(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    prefix: Annotated[str, typer.Option(help="How every text begins.")] = "",
    count: Annotated[int, typer.Option(help="How many texts.")] = 10,
    length: Annotated[
        int, typer.Option(help="Tokens: at most, of a sentence; exactly, of a continuation.")
    ] = 60,
    temperature: Annotated[
        float, typer.Option(help="1: the model's distribution; lower: bolder; 0: the arg-max.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Draw only from the k most probable tokens.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw only from the most probable tokens that have this share together."),
    ] = None,
    min_length: Annotated[
        int | None,
        typer.Option(
            help="Shorter sentences are drawn anew (words; markers not counted).  "
            "[default: 7, or --length if that is less]"
        ),
    ] = None,
    best: Annotated[
        bool,
        typer.Option("--best", help="From the parameters of the lowest loss, not the latest."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Texts drawn from the model of a run, one after the other."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed must be an integer from 0 to 2**32 - 1, not {seed}")
    folder = open_folder(run)
    samples = sample_texts(
        folder.model,
        folder.load_parameters(best=best),
        folder.vocabulary,
        folder.config,
        count=count,
        prefix=prefix,
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_length=min_length,
        seed=seed,
    )
    print(shown(samples))
