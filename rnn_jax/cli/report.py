"""What a command tells while it runs: a bar on a terminal, plain lines in a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import jax

from rnn_jax.host.files import Row
from rnn_jax.types import Params

__all__ = ["TrainingReport", "parameter_summary", "tokenizing"]


def parameter_summary(params: Params) -> str:
    """A line for each array, and their number of parameters.

    Example:
      >>> import jax.numpy as jnp
      >>> print(parameter_summary({"readout": {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}}))
      readout.b              [3]              3
      readout.w              [2, 3]           6
      parameters in all                       9
    """
    rows = [
        (jax.tree_util.keystr(keys, simple=True, separator="."), str(list(leaf.shape)), leaf.size)
        for keys, leaf in jax.tree.leaves_with_path(params)
    ]
    rows.append(("parameters in all", "", sum(size for _, _, size in rows)))
    return "\n".join(f"{name:<22} {shape:<14} {size:>9,}" for name, shape, size in rows)


@contextmanager
def tokenizing() -> Iterator[Callable[[int, int], None] | None]:
    """A progress callback for `prepare`: a bar on a terminal, None elsewhere."""
    if not _is_terminal(sys.stderr):
        yield None
        return
    with _bar() as bar:
        task = bar.add_task("tokenizing", total=None, note="")
        yield lambda done, total: bar.update(task, completed=done, total=total)


class TrainingReport:
    """A `Listener` that draws a bar on a terminal and prints one line an evaluation."""

    def __init__(self) -> None:
        # The bar takes standard output over: where that goes to a file, lines must go there.
        shown = _is_terminal(sys.stderr) and _is_terminal(sys.stdout)
        self._bar = _bar() if shown else None
        self._task: Any = None
        self._epoch = 0

    def __enter__(self) -> TrainingReport:
        if self._bar:
            self._bar.start()
        print("  epoch    train loss   loss   perplexity   tokens/s   learning rate", flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def progress(self, epoch: int, done: int, total: int, loss: float) -> None:
        """Move the bar."""
        if not self._bar:
            return
        if epoch != self._epoch:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._epoch = self._bar.add_task(f"epoch {epoch}", total=total), epoch
        self._bar.update(self._task, completed=done, description=f"epoch {epoch}  loss {loss:.3f}")

    def evaluated(self, row: Row) -> None:
        """Print a row of metrics."""
        train = "" if row["train_loss"] is None else f"{row['train_loss']:.3f}"
        rate = f"{row['tokens_per_second']:,}" if row["tokens_per_second"] else ""
        line = (
            f"{row['epoch']:>7} {train:>13} {row['loss']:>6.3f} {row['perplexity']:>12.1f} "
            f"{rate:>10} {row['learning_rate']:>15.6g}"
        )
        if row.get("bptt"):  # chosen while the run trains
            line += f"   {row['bptt']}"
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody watches; a stream that was closed before the start is None."""
    return stream is not None and stream.isatty()


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
