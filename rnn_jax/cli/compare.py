"""``rnn-jax compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rnn_jax.cli.runs import setting
from rnn_jax.cli.table import aligned, as_flag, number
from rnn_jax.host.files import reason
from rnn_jax.runs.listing import RunSummary, differing, parameter_count, summarize
from rnn_jax.runs.plots import Against, compared_losses, save_figure

__all__ = ["compare"]

_FORMATS = (".png", ".pdf", ".svg")
# Settings that say which part of a text is evaluated, in what units.
_EVALUATED = (
    "column",
    "max_sentences",
    "max_tokens",
    "letters_only",
    "glue_lines",
    "max_length",
    "language",
    "held_out",
    "valid",
)
_IN_LEGEND = 3  # settings named there; more would not be read


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    against: Annotated[Against, typer.Option(help="What lies on the x axis.")] = "tokens",
    out: Annotated[
        str, typer.Option(help="File of the plot: .png, .pdf or .svg; replaced if it is there.")
    ] = "compare.png",
) -> None:
    """A table and a plot of several runs: where they differ, and how their losses fell."""
    file = Path(out)
    if file.suffix.lower() not in _FORMATS:
        raise ValueError(f"--out {out} must end in {', '.join(_FORMATS)}, which name its format")
    if file.is_dir():
        raise ValueError(f"--out {out} is a folder: name a file")
    summaries = [_read(run) for run in dict.fromkeys(runs)]
    if not any(run.rows for run in summaries):
        raise ValueError("none of these runs has been evaluated yet: wait until one has")
    names = differing(run.settings for run in summaries)
    print(_table(summaries, names))
    for run in summaries:
        if run.note:
            print(f"\n{run.folder}: {run.note}")
    if sentence := incomparable(summaries):
        print(f"\n{sentence}")
    labels = {_label(run, names): run for run in summaries if run.rows}
    try:
        save_figure(file, compared_losses(labels, against=against))
    except OSError as error:
        raise ValueError(
            f"--out {out} cannot be written to ({reason(error)}): choose another file"
        ) from None
    print(f"\nlosses against {against}: {out}")


def incomparable(runs: Sequence[RunSummary]) -> str | None:
    """Why the losses of some runs cannot be compared; None where they can."""
    levels = {run.settings.get("level") for run in runs}
    texts = {run.content.get("corpus_sha256") for run in runs}
    words = {
        (run.content.get("vocabulary_checksum"), run.content.get("vocab_size")) for run in runs
    }
    parts = [name for name in differing(run.settings for run in runs) if name in _EVALUATED]
    why = []
    if len(levels) > 1:
        why.append(f"their units ({' and '.join(sorted(map(_units, levels)))})")
    if len(texts) > 1:
        why.append("their texts")
    if len(words) > 1:
        why.append("their vocabularies")
    if parts:
        why.append(f"what is evaluated ({', '.join(map(as_flag, parts))})")
    if not why:
        return None
    return (
        "The losses and perplexities cannot be compared: the runs differ in "
        f"{' and in '.join(why)}, so that each is measured on something else."
    )


def _units(level: object) -> str:
    """What tokens of a level are."""
    names = {"word": "words", "char": "characters", "byte": "bytes"}
    return names.get(str(level), "subwords")


def _read(path: str) -> RunSummary:
    run = summarize(path)
    if not run.usable:
        raise ValueError(
            f"{path} cannot be compared ({run.note}): give folders that rnn-jax train wrote"
        )
    return run


def _table(runs: Sequence[RunSummary], names: Sequence[str]) -> str:
    header = [
        *("run", *map(as_flag, names)),
        *("parameters", "epoch", "steps", "best loss", "perplexity", "at epoch", "last loss"),
        "tokens/s",
    ]
    rows = [
        [
            run.folder,
            *(setting(run.settings, name) for name in names),
            number(parameter_count(run.folder), ","),
            number(run.last.get("epoch"), ".4g"),
            number(run.step, ","),
            number(run.best.get("loss"), ".4f"),
            number(run.best.get("perplexity"), ",.2f"),
            number(run.best.get("epoch"), ".4g"),
            number(run.last.get("loss"), ".4f"),
            number(run.tokens_per_second, ",.0f"),
        ]
        for run in runs
    ]
    return aligned(header, rows)


def _label(run: RunSummary, names: Sequence[str]) -> str:
    """The folder, and what is special about the run if that is short."""
    if not names or len(names) > _IN_LEGEND:
        return run.folder
    told = ", ".join(f"{as_flag(name)} {setting(run.settings, name)}" for name in names)
    return f"{run.folder}: {told}"
