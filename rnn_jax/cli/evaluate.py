"""``rnn-jax evaluate``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from rnn_jax.cli.report import tokenizing
from rnn_jax.cli.table import json_safe
from rnn_jax.host.files import Row
from rnn_jax.runs import RunFolder, TrainConfig, evaluator, load_run, open_folder, prepare
from rnn_jax.runs.evaluation import bits_per_character, evaluate_text
from rnn_jax.training.progress import perplexity_of

__all__ = ["evaluate"]


def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    corpus: Annotated[
        str | None,
        typer.Option(
            help="Another text, all of it: name of a corpus or path of a file or a folder, "
            "tokenised as the run's.  [default: the text it was evaluated on]"
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            help="Column of a table, or key of a record, in --corpus.  [default: that of the run]"
        ),
    ] = None,
    held_out: Annotated[
        float | None, typer.Option(help="Only the last part of the text in --corpus.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Those of the lowest loss so far, not the latest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Loss and perplexity of a run's parameters on the text it was evaluated on, or another."""
    if corpus is None:
        for flag, value in (("--column", column), ("--held-out", held_out)):
            if value is not None:
                raise ValueError(
                    f"{flag} is for another text: give that as --corpus, or leave it out"
                )
        result = _on_its_own(open_folder(run), run, best)
    else:
        result = _on_another(run, corpus, column, held_out or 0.0, best)
    print(json.dumps(json_safe(result)) if as_json else _said(result))


def _on_its_own(folder: RunFolder, run: str, best: bool) -> Row:
    params = folder.load_parameters(best=best)
    with tokenizing() as progress:
        data = prepare(folder.config, vocabulary=folder.vocabulary, progress=progress)
    if data.sha256 != folder.corpus_sha256:
        raise ValueError(
            f"the text of the corpus {folder.config.corpus} is not the one {run} was trained on: "
            "restore that text"
        )
    loss, tokens = evaluator(folder.model)(params, data)
    part = "held-out text" if folder.config.held_out else "training text"
    return _figures(folder.config, part, loss, tokens, data.unigram_loss)


def _on_another(run: str, corpus: str, column: str | None, held_out: float, best: bool) -> Row:
    loaded = load_run(run, best=best)
    with tokenizing() as progress:
        found = evaluate_text(loaded, corpus, column=column, held_out=held_out, progress=progress)
    part = f"the last {held_out:.4g} of {corpus}" if held_out else corpus
    return {
        **_figures(loaded.config, part, found.loss, found.tokens, found.unigram_loss),
        "unknown": found.unknown,
        "unknown_share": found.unknown_share,
        "unknown_counts": found.unknown_counts,
        "unknown_examples": list(found.strange[:5]),
    }


def _figures(config: TrainConfig, part: str, loss: float, tokens: int, unigram_loss: float) -> Row:
    return {
        "loss": loss,
        "perplexity": perplexity_of(loss),
        "bits_per_character": bits_per_character(loss, config),
        "unigram_perplexity": perplexity_of(unigram_loss),
        "tokens": tokens,
        "unit": "character" if config.level == "char" else "word",
        "part": part,
    }


def _said(result: Row) -> str:
    bits = result["bits_per_character"]
    line = (
        f"{result['part']}, {result['tokens']:,} tokens: loss {result['loss']:.4f} nats, "
        f"perplexity {result['perplexity']:.2f} per {result['unit']} (unigram "
        f"{result['unigram_perplexity']:.2f})"
    )
    line += "" if bits is None else f", {bits:.4f} bits per character"
    if not result.get("unknown"):
        return line
    named = ", ".join(map(repr, result["unknown_examples"]))
    plural = "s" if result["unknown"] > 1 else ""
    share = f"{result['unknown']:,} {result['unit']}{plural} ({result['unknown_share']:.2%})"
    treated = (
        "each counts as the unknown token"
        if result["unknown_counts"]
        else "left out of the loss, because training met no unknown token to learn from"
    )
    return f"{line}\nunknown to the model: {share}, such as {named}; {treated}"
