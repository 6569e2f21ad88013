"""Many runs at a glance: what their folders say, read without a model, a tensor or a device."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeGuard

from rnn_jax.host.checksums import unsealed
from rnn_jax.host.files import Row, reason
from rnn_jax.host.locks import holder
from rnn_jax.runs.finding import is_of_fit, looks_like_run
from rnn_jax.runs.folder import FORMAT, TOKENIZER, RunFolder
from rnn_jax.runs.tested import figures_of_test
from rnn_jax.training.store import BEST, PARAMETERS

__all__ = [
    "RunSummary",
    "State",
    "differing",
    "elapsed",
    "parameter_count",
    "summarize",
]

State = Literal["training", "stopped", "done", "damaged", "foreign"]

_LOCK = ".lock"


@dataclass(frozen=True)
class RunSummary:
    """What is known of a run without loading it; None stands for what its folder does not say.

    state: ``training`` in some process now; ``stopped`` before its end; ``done``; ``damaged``, so
      that it cannot be used; ``foreign``, a folder that no run wrote, or a later version.
    note: why it is damaged or foreign, or what of it is damaged though it can be used.
    settings: the configuration.
    rows: the evaluations.
    content: all of ``config.json``.
    step: optimiser steps done.
    seconds: how long it trained, evaluations included, pauses before a resume not.
    test: the figures on the text of ``--test``; empty where there are none.
    """

    folder: str
    state: State
    note: str | None = None
    settings: Row = field(default_factory=dict)
    rows: Sequence[Row] = ()
    content: Row = field(default_factory=dict)
    step: int | None = None
    seconds: float | None = None
    test: Row = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether it is a run whose settings can be trusted."""
        return self.state not in ("damaged", "foreign")

    @property
    def last(self) -> Row:
        """The latest evaluation; empty where there is none."""
        return self.rows[-1] if self.rows else {}

    @property
    def best(self) -> Row:
        """The evaluation with the lowest loss; empty where there is none."""
        finite = [row for row in self.rows if _finite(row["loss"]) is not None]
        return min(finite, key=lambda row: row["loss"], default={})

    @property
    def test_loss(self) -> float | None:
        """The loss on the text of ``--test``."""
        return _finite(self.test.get("loss"))

    @property
    def started(self) -> str | None:
        """When it was begun, as in ``2026-11-21 16:14:36``."""
        moment = _moment(self.content.get("started"))
        return None if moment is None else str(moment)

    @property
    def total(self) -> int | None:
        """The steps of the whole run, as far as its settings and its evaluations tell."""
        steps, epochs = self.settings.get("steps"), self.settings.get("epochs")
        if _is_number(steps):
            return int(steps)
        if not _is_number(epochs) or not self.last.get("epoch"):
            return None
        return round(self.last["step"] / self.last["epoch"] * epochs)

    @property
    def tokens_per_second(self) -> float | None:
        """Of the latest evaluation that tells it: the first one comes before any training."""
        speeds = (row.get("tokens_per_second") for row in reversed(self.rows))
        return next((speed for speed in speeds if _is_number(speed) and speed), None)

    def as_json(self) -> Row:
        """All of it as one JSON object, without the rows."""
        best, last = self.best, self.last
        return {
            "folder": self.folder,
            "state": self.state,
            "note": self.note,
            "epoch": last.get("epoch"),
            "step": self.step,
            "total_steps": self.total,
            "best_loss": best.get("loss"),
            "best_perplexity": best.get("perplexity"),
            "best_epoch": best.get("epoch"),
            "last_loss": _finite(last.get("loss")),
            "test_loss": self.test_loss,
            "tokens_per_second": self.tokens_per_second,
            "started": self.started,
            "seconds": self.seconds,
            "settings": self.settings,
        }


def summarize(path: str | os.PathLike[str]) -> RunSummary:
    """What the folder of a run says, however damaged: nothing in it makes this raise."""
    name, path = os.fspath(path), Path(path)
    try:
        content = _content(path)
    except _Unusable as error:
        return RunSummary(name, error.state, str(error))
    settings = content["config"]
    try:
        return _summary(name, path, content)
    except _Unusable as error:
        return RunSummary(name, error.state, str(error), settings, content=content)
    except OSError as error:
        return RunSummary(name, "damaged", reason(error), settings, content=content)


def parameter_count(path: str | os.PathLike[str]) -> int | None:
    """How many parameters a run's model has, by the shapes in the file; None without a file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(path) / PARAMETERS, "numpy") as file:
            names = list(file.keys())
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except (OSError, SafetensorError):
        return None


def differing(settings: Iterable[Row]) -> list[str]:
    """The names under which not all of some settings have the same value, in their order.

    Example:
      >>> differing([{"lr": 0.1, "cell": "gru"}, {"lr": 0.2, "cell": "gru"}])
      ['lr']
    """
    settings = list(settings)
    names = dict.fromkeys(name for one in settings for name in one)
    # As text, because a damaged or later file may hold lists.
    return [name for name in names if len({repr(one.get(name)) for one in settings}) > 1]


def elapsed(rows: Sequence[Row], content: Row) -> list[float]:
    """Seconds of training until each row: the pauses before a resume are left out.

    ``content`` is that of ``config.json``. A clock that was set back counts as standing still; a
    row without a readable time takes that of the row before it.
    """
    resumed = content.get("resumed")
    starts = [content.get("started"), *(_started(r) for r in resumed or ())]
    begins = [moment for moment in map(_moment, starts) if moment is not None]
    seconds, result = 0.0, []
    now = begins.pop(0) if begins else None
    for row in rows:
        moment = _moment(row.get("time"))
        if moment is not None:
            while begins and begins[0] <= moment:
                now = begins.pop(0)
            seconds += max(0.0, (moment - now).total_seconds()) if now else 0.0
            now = moment
        result.append(seconds)
    return result


class _Unusable(Exception):
    def __init__(self, state: State, why: str) -> None:
        super().__init__(why)
        self.state: State = state


def _summary(name: str, path: Path, content: Row) -> RunSummary:
    folder = RunFolder(path)
    try:
        settings = asdict(folder.config_as_given)
    except ValueError:
        raise _Unusable("foreign", "settings of another version") from None
    training = holder(path / _LOCK) is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged line is told in the table
        history = folder.history()
    rows = history.rows
    damaged = len(history.lines) - len(rows)
    step = max((int(row["step"]) for row in rows), default=0)
    step = max(step, folder.steps or 0)
    note: str | None
    trained = step or (path / PARAMETERS).exists()
    if trained and not (rows or training):
        note = "metrics.jsonl is missing" if not damaged else "metrics.jsonl is damaged"
    else:
        note = f"damaged lines in metrics.jsonl: {damaged}" if damaged else None
    if not training:
        _check_files(path, step, content)
    seconds = elapsed(rows, content)
    summary = RunSummary(
        name,
        "training" if training else "stopped",
        note,
        settings,
        rows,
        content,
        step,
        seconds[-1] if seconds else None,
        figures_of_test(path),
    )
    return summary if training or not _is_done(summary) else replace(summary, state="done")


def _is_done(run: RunSummary) -> bool:
    steps, epochs, patience = (run.settings.get(n) for n in ("steps", "epochs", "early_stop"))
    if _is_number(patience) and run.best:
        after = len(run.rows) - 1 - run.rows.index(run.best)
        if after >= patience:
            return True
    if _is_number(steps):
        return (run.step or 0) >= steps
    return bool(run.rows) and _is_number(epochs) and run.last["epoch"] >= epochs


def _check_files(path: Path, step: int, content: Row) -> None:
    """Raise unless what `load_run` needs is there and whole, as far as headers and sizes tell."""
    from safetensors import SafetensorError, safe_open

    if step == 0 and not (path / PARAMETERS).exists():
        return  # stopped before there was anything
    if not (path / "vocabulary.json").exists():
        raise _Unusable("damaged", "vocabulary.json is missing")
    if "tokenizer_sha256" in content and not (path / TOKENIZER).exists():
        raise _Unusable("damaged", f"{TOKENIZER} is missing")
    if not (path / PARAMETERS).exists():
        raise _Unusable("damaged", f"{PARAMETERS} is missing")
    for name in (PARAMETERS, BEST):
        if (path / name).exists():
            try:
                with safe_open(os.fspath(path / name), "numpy"):
                    pass
            except SafetensorError:
                raise _Unusable("damaged", f"{name} is cut off or broken") from None


def _content(path: Path) -> Row:
    """What ``config.json`` holds, if it is that of a run."""
    try:
        content = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if is_of_fit(path):
            raise _Unusable("foreign", "of rnn_jax.fit in a program") from None
        if looks_like_run(path):
            raise _Unusable("damaged", "config.json is missing") from None
        raise _Unusable("foreign", "not a run") from None
    except OSError as error:
        raise _Unusable("damaged", f"config.json: {reason(error)}") from None
    except (ValueError, RecursionError):
        raise _Unusable("damaged", "config.json is broken") from None
    kind = content.get("format") if isinstance(content, dict) else None
    if not isinstance(kind, str) or not kind.startswith("rnn_jax run"):
        raise _Unusable("foreign", "not a run")
    if kind != FORMAT:
        raise _Unusable("foreign", "another version")
    if not isinstance(content.get("config"), dict):
        raise _Unusable("damaged", "config.json is broken")
    try:
        unsealed(content)
    except ValueError:
        raise _Unusable("damaged", "config.json was changed") from None
    return content


def _started(entry: Any) -> Any:
    return entry.get("started") if isinstance(entry, dict) else None


def _moment(text: Any) -> datetime | None:
    """A time of ``config.json`` or ``metrics.jsonl``, by the clock where it was written."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except (TypeError, ValueError):
        return None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: Any) -> float | None:
    return value if _is_number(value) and math.isfinite(value) else None
