"""``rnn-jax evaluate``."""

from __future__ import annotations

import json
import math
from typing import Annotated

import typer

from rnn_jax.cli.report import tokenizing
from rnn_jax.runs import evaluator, open_folder, prepare

__all__ = ["evaluate"]


def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    best: Annotated[
        bool, typer.Option("--best", help="Those of the lowest loss so far, not the latest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Loss and perplexity of a run's parameters on the text it was evaluated on."""
    folder = open_folder(run)
    params = folder.load_parameters(best=best)
    with tokenizing() as progress:
        data = prepare(folder.config, vocabulary=folder.vocabulary, progress=progress)
    if data.sha256 != folder.corpus_sha256:
        raise ValueError(
            f"the text of the corpus {folder.config.corpus} is not the one {run} was trained on: "
            "restore that text"
        )
    loss, tokens = evaluator(folder.model)(params, data)
    result = {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "unigram_perplexity": math.exp(data.unigram_loss),
        "tokens": tokens,
        "part": "held-out text" if folder.config.held_out else "training text",
    }
    if as_json:
        print(json.dumps(result))
    else:
        print(
            f"{result['part']}, {tokens:,} tokens: loss {loss:.4f} nats, perplexity "
            f"{result['perplexity']:.2f} (unigram {result['unigram_perplexity']:.2f})"
        )
