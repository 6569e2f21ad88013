"""The pictures of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rnn_jax.host.files import Row, atomic_path
from rnn_jax.runs.folder import RunFolder
from rnn_jax.runs.listing import RunSummary, elapsed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Against", "compared_losses", "loss_figure", "plot_loss", "save_figure"]

Against = Literal["epoch", "step", "tokens", "seconds"]

_FEW = 40  # points that are marked one by one; more of them would run into each other
_RATIO = 10  # from the lowest to the highest value; above it a scale is logarithmic
_DECADES = 4  # that a logarithmic scale shows
_X_LABELS: Mapping[Against, str] = {
    "epoch": "epoch",
    "step": "optimiser steps",
    "tokens": "tokens seen",
    "seconds": "seconds of training, evaluations included",
}
_LOSS = "cross-entropy (nats per token)"


def plot_loss(folder: RunFolder, rows: Sequence[Row], unigram_loss: float) -> None:
    """Draw evaluated and training loss, and below them the learning rate, into ``loss.png``."""
    config = folder.config_as_given
    figure = loss_figure(
        rows, unigram_loss, title=config.corpus_shown, evaluated=config.evaluated_text
    )
    save_figure(folder.path / "loss.png", figure)


def loss_figure(
    rows: Sequence[Row], unigram_loss: float, *, title: str, evaluated: str = "held-out text"
) -> Figure:
    """Losses against the epoch, and the learning rate below, where the rows tell it.

    A training loss is the mean over the steps since the evaluation before, and stands in the middle
    between the two.

    Example:
      >>> row = {"epoch": 1, "loss": 4.2, "train_loss": 4.9, "learning_rate": 0.002}
      >>> figure = loss_figure([row], 6.0, title="a text")
      >>> [axes.get_ylabel() for axes in figure.axes]
      ['cross-entropy (nats per token)', 'learning rate']
    """
    from matplotlib.figure import Figure

    epochs = [float(row["epoch"]) for row in rows]
    rates = _points(epochs, rows, "learning_rate")
    heights = [3, 1] if rates.x else [1]
    figure = Figure(figsize=(6.4, 5.2 if rates.x else 4), layout="constrained")
    panels = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    axes, last = panels[0], panels[-1]
    losses = _points(epochs, rows, "loss")
    trained = _points(_middles(epochs), rows, "train_loss")
    if trained.x:
        axes.plot(*trained, color="C1", linewidth=1, label="while training", **_marks(trained))
    axes.plot(*losses, color="C0", label=evaluated, **_marks(losses))
    axes.axhline(unigram_loss, color="gray", linestyle="--", label="unigram frequencies")
    axes.set(ylabel=_LOSS, title=title)
    axes.legend()
    _scale(axes, [*losses.y, *trained.y, unigram_loss])
    if rates.x:
        # The rate of a row is that of the steps before it.
        last.plot(*rates, color="C2", drawstyle="steps-pre", **_marks(rates))
        last.set(ylabel="learning rate", ylim=(0, 1.15 * max(rates.y) or 1))
        _scale(last, rates.y)
    last.set(xlabel="epoch")
    _whole_epochs(last, epochs)
    for panel in panels:
        panel.grid(alpha=0.3)
    return figure


def compared_losses(runs: Mapping[str, RunSummary], *, against: Against = "tokens") -> Figure:
    """Evaluated losses of several runs by their labels, each with its training loss as a thin line.

    Args:
      runs: in the order of the legend.
      against: what lies on the x axis.
    """
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5 + 0.2 * len(runs)), layout="constrained")
    axes = figure.add_subplot()
    values: list[float] = []
    every: list[float] = []
    for number, (label, run) in enumerate(runs.items()):
        # Ten colours can be told apart by name; of more, neighbours are alike.
        color: Any = f"C{number}"
        if len(runs) > 10:
            color = matplotlib.colormaps["turbo"](number / (len(runs) - 1))
        xs = _positions(run, against)
        losses = _points(xs, run.rows, "loss")
        trained = _points(_middles(xs), run.rows, "train_loss")
        axes.plot(*trained, color=color, linewidth=0.6, alpha=0.7)
        axes.plot(*losses, color=color, label=label, **_marks(losses))
        values += [*losses.y, *trained.y]
        every += losses.x
    axes.set(xlabel=_X_LABELS[against], ylabel=_LOSS, title="evaluated loss (thin: while training)")
    _scale(axes, values)
    if against == "epoch":
        _whole_epochs(axes, every)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower left", fontsize="small")
    return figure


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure, in the format of the file's suffix, whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=120)


class _Points(NamedTuple):
    x: list[float]
    y: list[float]


def _points(xs: Sequence[float], rows: Sequence[Row], name: str) -> _Points:
    """The points of those rows that have a finite number under a name."""
    points = [
        (x, float(row[name]))
        for x, row in zip(xs, rows, strict=True)
        if isinstance(row.get(name), int | float) and math.isfinite(row[name]) and math.isfinite(x)
    ]
    return _Points([x for x, _ in points], [y for _, y in points])


def _positions(run: RunSummary, against: Against) -> list[float]:
    if against == "seconds":
        return elapsed(run.rows, run.content)
    found = [row.get(against) for row in run.rows]
    return [float(x) if isinstance(x, int | float) else math.nan for x in found]


def _middles(xs: Sequence[float]) -> list[float]:
    return [(x + before) / 2 for before, x in zip([0.0, *xs], xs, strict=False)]


def _marks(points: _Points) -> dict[str, Any]:
    return {"marker": "." if len(points.x) <= _FEW else ""}


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic y axis where positive values span a wide range, labelled in plain numbers."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    above = [value for value in values if value > 0]
    if not above or min(values) < 0 or max(above) < _RATIO * min(above):
        return
    axes.set_yscale("log")
    decades = math.log10(max(above) / min(above))
    # No more than some decades: a rate that falls to nothing would flatten all that came before.
    lowest = max(min(above), max(above) / 10**_DECADES)
    axes.set_ylim(lowest / 1.3, max(above) * 1.3)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _whole_epochs(axes: Axes, epochs: Sequence[float]) -> None:
    """Ticks at whole numbers, where there are enough of them to read the axis by."""
    from matplotlib.ticker import MaxNLocator

    if epochs and max(epochs) >= 3:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
