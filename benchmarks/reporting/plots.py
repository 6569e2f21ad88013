"""The pictures of a report; matplotlib is imported here and nowhere else in the suite."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measuring.roofline import Roofline
from benchmarks.peers import IMPLEMENTATIONS, OURS
from benchmarks.reporting.summary import NotedRow
from benchmarks.rows import by, number, unsteady
from rnn_jax.host.files import atomic_path

__all__ = ["ratios", "roofline", "scaling"]

_SMALL = 0.6  # of the usual size: what misses the suite's criterion
_MISSES = "small: misses the criterion"
# Opaque, with an edge: points that lie on each other keep their colours.
_EDGE = {"markeredgecolor": "white", "markeredgewidth": 0.4}


def scaling(path: Path, machine: str, rows: Iterable[NotedRow], axis: str, fixed: str) -> None:
    """Time against T, H or B, both axes logarithmic: a panel a cell, a line an implementation."""
    from matplotlib.ticker import LogLocator, NullFormatter

    rows = list(rows)
    panels, colours = by(rows, "cell"), _colours(rows)

    def draw(axes: Any) -> None:
        for panel, ((cell,), own) in zip(axes, panels.items(), strict=True):
            for (name,), line in by(own, "implementation").items():
                line = sorted(line, key=lambda row: number(row, axis))
                points = [number(r, axis) for r in line], [number(r, "median_ms") for r in line]
                panel.loglog(*points, color=colours[name], linewidth=1, base=2)
                for row, x, y in zip(line, *points, strict=True):
                    panel.plot(x, y, "o", markersize=_size(row, 6), color=colours[name], **_EDGE)
                panel.plot([], [], "o-", markersize=6, color=colours[name], label=name, **_EDGE)
            panel.xaxis.set_major_formatter("{x:g}")
            panel.set_yscale("log", base=10)
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            panel.yaxis.set_major_formatter("{x:,g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
            panel.set(title=cell, xlabel=f"{axis} ({fixed})" if fixed else axis)
            panel.grid(alpha=0.3)
        _explain_small(axes[-1], rows)
        axes[0].set_ylabel("ms, forward and backward")

    _save(path, machine, len(panels), draw)


def ratios(path: Path, machine: str, rows: Iterable[NotedRow], title: str) -> None:
    """A point a workload and peer: its time by ours, logarithmic, with its 95 % interval.

    Hollow for other equations, small for what misses the criterion.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    compared = [row for row in rows if row.get("ratio")]
    table, colours = by(compared, "workload"), _colours(compared)

    def draw(axes: Any) -> None:
        (axis,) = axes
        for place, own in enumerate(table.values()):
            for row in own:
                name = row["implementation"]
                low, high = row.get("ratio_low"), row.get("ratio_high")
                if low is not None and high is not None:
                    axis.plot((low, high), (place, place), color=colours[name], linewidth=0.7)
                look = {"markerfacecolor": "none"} if row.get("other") else _EDGE
                axis.plot(
                    row["ratio"], place, "o", markersize=_size(row, 7.5), color=colours[name],
                    clip_on=False, **look,
                )  # fmt: skip
        for name, colour in colours.items():
            axis.plot([], [], "o", color=colour, label=name)
        if any(row.get("other") for row in compared):
            axis.plot([], [], "o", color="gray", markerfacecolor="none", label="other equations")
        _explain_small(axis, compared)
        axis.axvline(1, color="black", linewidth=1)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_yticks(range(len(table)), [name for (name,) in table], fontsize="small")
        axis.set_ylim(len(table) - 0.5, -0.5)
        axis.grid(alpha=0.3)
        axis.set(xlabel="time by that of rnn_jax (right of 1: rnn_jax is faster)", title=title)

    _save(path, machine, 1, draw, width=6.5, height=1.5 + 0.25 * len(table))


def roofline(
    path: Path, machine: str, rows: Iterable[NotedRow], ceilings: Roofline, title: str
) -> None:
    """GFLOP/s against FLOP a byte, under the best product and the bandwidths of memory and cache.

    Hollow for what is above its ceiling.
    """
    import numpy as np
    from matplotlib.ticker import LogLocator, NullFormatter

    rows = list(rows)
    colours = _colours(rows)
    gemm, memory, cache = ceilings.gemm_gflops_per_s, ceilings.copy_gb_per_s, ceilings.bandwidth(0)

    def draw(axes: Any) -> None:
        (axis,) = axes
        at = [*_intensities(rows), gemm / memory, gemm / cache]
        line = np.geomspace(min(at) / 2, max(at) * 2, 200)
        for rate, style, name in ((memory, "-", "memory"), (cache, "--", "cache")):
            label = f"{gemm:,.0f} GFLOP/s; {name} {rate:,.0f} GB/s"
            axis.loglog(
                line, np.minimum(gemm, rate * line), style, color="black", linewidth=1, label=label
            )
        for (name,), own in by(rows, "implementation").items():
            for above, shown in by([row | {"above": _above(row)} for row in own], "above").items():
                points = _intensities(shown), [row["gflops_per_s"] for row in shown]
                # Ours lies above the others.
                axis.loglog(
                    *points, "o", markersize=4.5, color=colours[name], label=name,
                    zorder=3 if name == OURS else 2,
                    **({"markerfacecolor": "none"} if above == (True,) else _EDGE),
                )  # fmt: skip
        axis.grid(alpha=0.3)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:,g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set(xlabel="FLOP per byte", ylabel="GFLOP/s", title=title)

    _save(path, machine, 1, draw, width=5.5, height=4.5)


def _size(row: NotedRow, usual: float) -> float:
    return usual * _SMALL if unsteady(row) else usual


def _explain_small(axis: Any, rows: Iterable[NotedRow]) -> None:
    if any(map(unsteady, rows)):
        axis.plot([], [], "o", color="gray", markersize=7.5 * _SMALL, label=_MISSES)


def _above(row: NotedRow) -> bool:
    return (row.get("fraction_of_ceiling") or 0) > 1


def _intensities(rows: Iterable[Mapping[str, Any]]) -> list[float]:
    return [number(row, "flops") / number(row, "bytes") for row in rows]


def _colours(rows: Iterable[NotedRow]) -> dict[str, Any]:
    """A colour an implementation, the same in all pictures; ours is black."""
    import matplotlib as mpl

    names = dict.fromkeys(row["implementation"] for row in rows)
    peers = [name for name in dict.fromkeys([*IMPLEMENTATIONS, *names]) if name != OURS]
    # Twenty colours, of which the ten strong ones come first.
    strong, both = (mpl.colormaps[name].colors for name in ("tab10", "tab20"))  # type: ignore[attr-defined]
    wheel = [*strong, *both[1::2]]
    colours = {name: wheel[i % len(wheel)] for i, name in enumerate(peers)}
    return {name: colours.get(name, "black") for name in names}


def _save(
    path: Path,
    machine: str,
    panels: int,
    draw: Callable[[Any], None],
    width: float = 3.6,
    height: float = 3.6,
) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(width * panels + 1.8, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
        draw(axes)
        # In lines short enough that they do not run into the legend beside them.
        figure.suptitle(textwrap.fill(machine, 40), fontsize="small")
        # One for all panels, beside them, where it covers no point.
        shown: dict[str, Any] = {}
        for axis in axes:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                shown.setdefault(label, handle)
        figure.legend(shown.values(), shown.keys(), loc="outside right upper", fontsize="small")
        with atomic_path(path) as temporary:
            # No date inside: the same rows make the same bytes.
            figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
