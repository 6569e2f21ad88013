"""The figure that recipes draw: lines over whole numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["line_figure"]


def line_figure(
    lines: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    *, xlabel: str, ylabel: str, log: bool = False,
) -> Figure:  # fmt: skip
    """A line for each label, of the pair of its x and its y.

    Example:
      >>> figure = line_figure({"lstm": ([1, 2], [9.0, 7.5])}, xlabel="epoch", ylabel="perplexity")
      >>> figure.axes[0].get_xlabel()
      'epoch'
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for i, (label, (x, y)) in enumerate(lines.items()):
        style = ("-", "--", ":")[i // 10 % 3]  # there are ten colours
        marker = "." if len(x) < 50 else ""
        axes.plot(x, y, style, label=label, linewidth=1, marker=marker)
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure
