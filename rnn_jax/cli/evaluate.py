"""``rnn-jax evaluate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from rnn_jax.cli.report import tokenizing
from rnn_jax.cli.table import json_safe
from rnn_jax.cli.tokenize import PROCESSES, check_processes
from rnn_jax.host.files import Row
from rnn_jax.runs import Run, RunFolder, TrainConfig, evaluator, load_run, open_folder, prepare
from rnn_jax.runs.evaluation import bits_per_unit, evaluate_text
from rnn_jax.training.progress import perplexity_of

__all__ = ["evaluate", "on_another", "said"]


def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            help="Another text, all of it: name of a corpus or path of a file or a folder, "
            "tokenised as the run's; may be given several times.  [default: the text it was "
            "evaluated on]"
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
    processes: Annotated[int | None, typer.Option(help=PROCESSES)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Loss and perplexity of a run's parameters on the text it was evaluated on, or another."""
    check_processes(processes)
    if not corpus:
        for flag, value in (("--column", column), ("--held-out", held_out)):
            if value is not None:
                raise ValueError(
                    f"{flag} is for another text: give that as --corpus, or leave it out"
                )
        result = _on_its_own(open_folder(run), run, best, processes)
    else:
        loaded = load_run(run, best=best)
        result = on_another(loaded, corpus, column=column, held_out=held_out, processes=processes)
    print(json.dumps(json_safe(result)) if as_json else said(result))


def _on_its_own(folder: RunFolder, run: str, best: bool, processes: int | None) -> Row:
    config = folder.config
    params = folder.load_parameters(best=best)
    with tokenizing() as progress:
        data = prepare(config, vocabulary=folder.vocabulary, processes=processes, progress=progress)
    for name, found, kept in (
        (config.corpus_shown, data.sha256, folder.corpus_sha256),
        (config.valid, data.valid_sha256, folder.valid_sha256),
    ):
        if found != kept:
            raise ValueError(
                f"the text of the corpus {name} is not the one {run} was trained on: "
                "restore that text"
            )
    loss, tokens = evaluator(folder.model)(params, data)
    return _figures(config, config.evaluated_text, loss, tokens, data.unigram_loss)


def on_another(
    run: Run,
    corpus: str | Sequence[str],
    *,
    column: str | None = None,
    held_out: float | None = None,
    processes: int | None = 1,
) -> Row:
    """The figures of a run on another text."""
    with tokenizing() as progress:
        found = evaluate_text(
            run,
            corpus,
            column=column,
            held_out=held_out or 0.0,
            processes=processes,
            progress=progress,
        )
    part = corpus if isinstance(corpus, str) else ", ".join(corpus)
    part = f"the last {held_out:.4g} of {part}" if held_out else part
    return {
        **_figures(run.config, part, found.loss, found.tokens, found.unigram_loss),
        "unknown": found.unknown,
        "unknown_share": found.unknown_share,
        "unknown_counts": found.unknown_counts,
        "unknown_examples": list(found.strange[:5]),
    }


def _figures(config: TrainConfig, part: str, loss: float, tokens: int, unigram_loss: float) -> Row:
    return {
        "loss": loss,
        "perplexity": perplexity_of(loss),
        "bits_per_character": bits_per_unit(loss, config, "character"),
        "bits_per_byte": bits_per_unit(loss, config, "byte"),
        "unigram_perplexity": perplexity_of(unigram_loss),
        "tokens": tokens,
        "unit": config.unit,
        "part": part,
    }


def said(result: Row) -> str:
    """The same in a sentence or two."""
    line = (
        f"{result['part']}, {result['tokens']:,} tokens: loss {result['loss']:.4f} nats, "
        f"perplexity {result['perplexity']:.2f} per {result['unit']} (unigram "
        f"{result['unigram_perplexity']:.2f})"
    )
    for unit in ("character", "byte"):
        if (bits := result[f"bits_per_{unit}"]) is not None:
            line += f", {bits:.4f} bits per {unit}"
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
