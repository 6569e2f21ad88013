"""The pictures of a report; matplotlib is imported here and nowhere else in the suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.result_files import Row, by
from rnn_jax.files import atomic_path

__all__ = ["ratios", "roofline", "scaling"]


def scaling(path: Path, rows: Iterable[Row], axis: str) -> None:
    """Time against T, H or B, both axes logarithmic: a panel a cell, a line an implementation."""
    panels = by(rows, "cell")

    def draw(axes: Any) -> None:
        for axis_, ((cell,), of) in zip(axes, panels.items(), strict=True):
            for (name,), line in by(of, "implementation").items():
                line = sorted(line, key=lambda row: row[axis])
                points = [row[axis] for row in line], [row["median_ms"] for row in line]
                axis_.loglog(*points, marker="o", markersize=3, label=name, base=2)
            axis_.set_yscale("log", base=10)
            axis_.set(title=cell, xlabel=axis)
            axis_.grid(alpha=0.3)
        axes[0].set_ylabel("ms")

    _save(path, len(panels), draw)


def ratios(path: Path, table: Mapping[str, Mapping[str, float]], title: str) -> None:
    """A point a workload and implementation: its time by ours, logarithmic."""
    names = list(dict.fromkeys(name for of in table.values() for name in of))

    def draw(axes: Any) -> None:
        (axis,) = axes
        places = range(len(table))
        for name in names:
            points = [
                (of[name], place) for of, place in zip(table.values(), places, strict=True)
                if name in of
            ]  # fmt: skip
            axis.plot(*zip(*points, strict=True), "o", markersize=5, alpha=0.8, label=name)
        axis.axvline(1, color="black", linewidth=1)
        axis.set_xscale("log")
        axis.set_yticks(places, table.keys(), fontsize="small")
        axis.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
        axis.invert_yaxis()
        axis.grid(alpha=0.3)
        axis.set(xlabel="time by that of rnn_jax (right of 1: rnn_jax is faster)", title=title)

    _save(path, 1, draw, width=8.0, height=1.5 + 0.25 * len(table))


def roofline(path: Path, rows: Iterable[Row], gemm: float, copy: float, title: str) -> None:
    """GFLOP/s against FLOP a byte, under the ceilings of a large product and a large copy."""
    import numpy as np

    found = list(rows)

    def draw(axes: Any) -> None:
        (axis,) = axes
        at = [row["flops"] / row["bytes"] for row in found]
        line = np.geomspace(min([*at, gemm / copy]) / 2, max([*at, gemm / copy]) * 2)
        axis.loglog(line, np.minimum(gemm, copy * line), color="black", linewidth=1)
        for (name,), of in by(found, "implementation").items():
            points = (
                [row["flops"] / row["bytes"] for row in of],
                [row["gflops_per_s"] for row in of],
            )
            axis.loglog(*points, "o", markersize=4, alpha=0.7, label=name)
        axis.grid(alpha=0.3)
        axis.set(xlabel="FLOP per byte", ylabel="GFLOP/s", title=title)

    _save(path, 1, draw, width=7.0, height=4.5)


def _save(
    path: Path, panels: int, draw: Callable[[Any], None], width: float = 3.6, height: float = 3.6
) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(width * panels + 1.8, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
        draw(axes)
        # Of the panel with the most lines; beside the panels, where it covers no point.
        shown = max((axis.get_legend_handles_labels() for axis in axes), key=lambda hs: len(hs[0]))
        figure.legend(*shown, loc="outside right upper", fontsize="small")
        with atomic_path(path) as temporary:
            # No date inside: the same rows make the same bytes.
            figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
