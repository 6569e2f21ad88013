"""What training tells a person: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from rnn_jax.host.files import Row
from rnn_jax.training.progress import Progress
from rnn_jax.types import Params

__all__ = ["TrainingReport", "bar", "duration", "is_terminal"]

_EVERY = 10.0  # seconds from one plain line to the next


class TrainingReport:
    """A `Listener` that prints a line an evaluation, and in between shows how far training is.

    On a terminal that is a bar; elsewhere a plain line every ten seconds. Used in a ``with`` block,
    or without one, where there is no bar.

    Args:
      plain: whether to print plain lines on a terminal, too.

    Example:
      >>> report = TrainingReport(plain=True)
      >>> report.evaluated({"epoch": 1, "train_loss": 4.1, "loss": 3.9, "learning_rate": 0.002})
        epoch    train loss   loss   perplexity   tokens/s   learning rate
            1         4.100  3.900                                   0.002
    """

    def __init__(self, *, plain: bool = False) -> None:
        # The bar takes standard output over: where that goes to a file, lines must go there.
        shown = not plain and is_terminal(sys.stderr) and is_terminal(sys.stdout)
        self._bar = bar("{task.fields[note]}") if shown else None
        self._task: Any = None
        self._epoch = 0
        self._headed = False
        self._skipped = 0
        self._told = time.monotonic()

    def __enter__(self) -> TrainingReport:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def progress(self, progress: Progress) -> None:
        """Move the bar, or print a line where it is time for one."""
        if progress.skipped > self._skipped:
            self._skipped = progress.skipped
            self._print(
                f"  step {progress.step}: {progress.skipped} steps so far had a loss or gradient "
                "that is not finite, and were left out"
            )
        if not self._bar or not self._bar.live.is_started:
            self._plain(progress)
            return
        if progress.epoch != self._epoch:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._epoch = progress.epoch
            self._task = self._bar.add_task("", total=progress.batches, note="")
        self._bar.update(
            self._task,
            completed=progress.batch,
            description=f"epoch {progress.epoch}{_of(progress.epochs)}",
            note=_note(progress),
        )

    def evaluated(self, row: Row, params: Params = None) -> None:
        """Print a row of metrics."""
        train = "" if row.get("train_loss") is None else f"{row['train_loss']:.3f}"
        loss = "" if row.get("loss") is None else f"{row['loss']:.3f}"
        rate = f"{row['tokens_per_second']:,}" if row.get("tokens_per_second") else ""
        perplexity = f"{row['perplexity']:.1f}" if row.get("perplexity") is not None else ""
        learning_rate = "" if row.get("learning_rate") is None else f"{row['learning_rate']:.6g}"
        line = (
            f"{_epoch(row['epoch'])} {train:>13} {loss:>6} {perplexity:>12} {rate:>10} "
            f"{learning_rate:>15}"
        )
        if row.get("bptt"):  # chosen while training goes on
            line += f"   {row['bptt']}"
        if not self._headed:
            self._headed = True
            self._print("  epoch    train loss   loss   perplexity   tokens/s   learning rate")
        self._print(line)
        self._told = time.monotonic()

    def _plain(self, progress: Progress) -> None:
        if time.monotonic() - self._told < _EVERY:
            return
        self._told = time.monotonic()
        self._print(
            f"  epoch {progress.epoch}{_of(progress.epochs)}, step {progress.batch:,} of "
            f"{progress.batches:,}: {_note(progress)}"
        )

    def _print(self, line: str) -> None:
        if self._bar and self._bar.live.is_started:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)


def _epoch(number: float) -> str:
    """Its number, with as many decimals as seven columns have room for.

    Example:
      >>> _epoch(12), _epoch(1 / 12), _epoch(1000.4)
      ('     12', ' 0.0833', ' 1000.4')
    """
    whole = number == int(number)
    decimals = 0 if whole else max(1, 5 - len(str(int(number))))
    return f"{number:>7.{decimals}f}"


def _of(total: int | None) -> str:
    return "" if total is None else f" of {total}"


def _note(progress: Progress) -> str:
    """Loss, perplexity, speed and time left.

    Example:
      >>> _note(Progress(1, 4, 30, None, 30, 100, 2.5, 12.18, 16000.0, 4000.0, 0.002, 0))
      'loss 2.500, perplexity 12.2, 16,000 tokens/s, 1:06:40 left'
    """
    parts = []
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.perplexity is not None:
        parts.append(f"perplexity {progress.perplexity:.4g}")
    parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    Example:
      >>> duration(59.6), duration(3725)
      ('1:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody watches; a stream that was closed before the start is None."""
    return stream is not None and stream.isatty()


def bar(note: str = "") -> Any:
    """A progress bar of rich's, with a text behind it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn(note),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
