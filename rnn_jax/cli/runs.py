"""``rnn-jax runs``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Container, Sequence
from typing import Annotated, Any, Literal

import typer

from rnn_jax.cli.table import aligned, as_flag, duration, json_safe, number
from rnn_jax.host.files import Row
from rnn_jax.runs import TrainConfig
from rnn_jax.runs.finding import find_runs
from rnn_jax.runs.listing import RunSummary, differing, summarize

__all__ = ["runs"]

Sort = Literal["folder", "started", "loss", "last", "speed", "duration", "state"]
_KEYS: dict[Sort, Callable[[RunSummary], Any]] = {
    "folder": lambda run: run.folder,
    "started": lambda run: run.started,
    "loss": lambda run: run.best.get("loss"),
    "last": lambda run: run.last.get("loss"),
    "speed": lambda run: None if run.tokens_per_second is None else -run.tokens_per_second,
    "duration": lambda run: run.seconds,
    "state": lambda run: run.state,
}
_SAID = {"training": "training now"}


def runs(
    folders: Annotated[
        list[str] | None,
        typer.Argument(help="Folders with runs at any depth, or runs.  [default: runs]"),
    ] = None,
    sort: Annotated[
        Sort, typer.Option(help="Order of the rows; loss: the lowest, last: the latest.")
    ] = "started",
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON a run.")] = False,
) -> None:
    """List runs: their state, the settings in which they differ, and their best figures."""
    given = folders or ["runs"]
    paths = dict.fromkeys(path for folder in given for path in find_runs(folder))
    summaries = _sorted([summarize(path) for path in paths], sort)
    if as_json:
        for run in summaries:
            print(json.dumps(json_safe(run.as_json()), ensure_ascii=False))
    elif summaries:
        print("\n".join(_lines(summaries)))
    else:
        print(f"no runs in {', '.join(given)}")


def _sorted(summaries: list[RunSummary], sort: Sort) -> list[RunSummary]:
    """Those without a value come last."""

    def key(run: RunSummary) -> tuple[bool, Any, str]:
        value = _KEYS[sort](run)
        return value is None, 0 if value is None else value, run.folder

    return sorted(summaries, key=key)


def _lines(summaries: Sequence[RunSummary]) -> list[str]:
    usable = [run.settings for run in summaries if run.usable]
    names = differing(usable)
    tested = any(run.test_loss is not None for run in summaries)
    lines = []
    if len(usable) > 1:
        lines += [_common(usable[0], names), ""]
    header = [
        *("run", "state"),
        *map(as_flag, names),
        *("best loss", "perplexity", "at epoch", "last loss"),
        *(["test loss"] if tested else []),
        *("tokens/s", "started", "duration"),
    ]
    table = [
        [
            run.folder,
            _state(run),
            *(setting(run.settings, name) for name in names),
            number(run.best.get("loss"), ".4f"),
            number(run.best.get("perplexity"), ",.2f"),
            number(run.best.get("epoch"), ".4g"),
            number(run.last.get("loss"), ".4f"),
            *([number(run.test_loss, ".4f")] if tested else []),
            number(run.tokens_per_second, ",.0f"),
            run.started or "–",
            duration(run.seconds),
        ]
        for run in summaries
    ]
    return [*lines, aligned(header, table, left=2)]


def setting(settings: Row, name: str) -> str:
    """One setting in a cell."""
    value = settings.get(name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


def _common(settings: Row, names: Sequence[str]) -> str:
    """What all runs have in common: the corpus, the cell, and what is not at its default."""
    shown = unusual(settings, without=names, always=("corpus", "cell"))
    return f"all: {', '.join([*shown, 'else the defaults'])}"


def unusual(settings: Row, *, without: Container[str], always: Container[str] = ()) -> list[str]:
    """The settings that are not at their defaults, each with its value."""
    defaults = dataclasses.asdict(TrainConfig())
    return [
        f"{as_flag(name)} {setting(settings, name)}"
        for name, value in settings.items()
        if name not in without and (name in always or value != defaults.get(name))
    ]


def _state(run: RunSummary) -> str:
    said = _SAID.get(run.state, run.state)
    if run.usable and run.state != "done":
        epoch, epochs = run.last.get("epoch", 0), run.settings.get("epochs")
        said += f" at epoch {epoch:.4g} of {epochs}" if epochs is not None else ""
        said += f", step {run.step:,}"
        said += f" of {run.total:,}" if run.total else ""
    return f"{said}: {run.note}" if run.note else said
