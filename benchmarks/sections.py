"""The sections of a page of results: of one machine and dtype, from rows to Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import plots
from benchmarks.fits import affine_fit, slope
from benchmarks.peers import OURS
from benchmarks.result_files import Row, by, measured, relative_spread
from benchmarks.summary import SUMMARY_COLUMNS, by_peer, footnote, marked, signed
from benchmarks.tables import table

__all__ = ["SECTIONS", "Pictures", "headline"]

SCALING = {"sequence-scaling": "T", "hidden-scaling": "H", "batch-scaling": "B"}
# Groups that are a table of all their rows, and what each is about.
PLAIN = {
    "vocabulary": "Softmax over growing vocabularies, whole training steps.",
    "training": "Whole training steps, many inside one compiled call.",
    "generation": "Greedy generation, one token a step and row.",
    "truncation": "What each truncation costs: the same step, otherwise.",
    "devices": "A data-parallel step over the devices of one machine.",
    "compile": "Compile time against T, and temporaries with `remat`.",
}
# How to read the tables of `by_peer`.
_BY_PEER = (
    "In the tables ± is one standard deviation of a single time, by the quartiles of both sides; "
    "in bold what is below 1."
)


@dataclass
class Pictures:
    """The pictures of a section: their names end in ``mark``; ``drawn`` gives the file of each."""

    folder: Path
    mark: str = ""
    drawn: dict[str, str] = field(default_factory=dict)

    def draw(self, name: str, says: str, draw: Callable[[Path], None]) -> str:
        """The link to a picture, once ``draw`` has made its file."""
        file = f"{name}{self.mark}.png"
        draw(self.folder / file)
        self.drawn[name] = file
        return f"![{says}]({file})"


def headline(rows: list[Row]) -> list[str]:
    """What was gained, in a line a peer."""
    lines = []
    for of in by(measured(rows, "reference"), "workload").values():
        step = {row["implementation"]: row for row in of}
        if {"numpy-loop", "jax-scan"} <= step.keys():
            loop, scan = step["numpy-loop"], step["jax-scan"]
            sizes = _sizes(scan, "V", "H", "T")
            lines.append(
                {
                    "what": f"reference step{sizes and f' ({sizes})'}, many steps a call",
                    "beside": "NumPy, double loop",
                    "times faster": loop["median_ms"] / scan["median_ms"],
                    "worst": None,
                    "lost": None,
                    "of": 1,
                }
            )
    trained = [r for r in measured(rows, "recurrence") if r["pass"] == "forward+backward"]
    lines += [
        {
            "what": "one layer, forward and backward, geometric mean",
            "beside": row["implementation"],
            "times faster": row["geometric_mean"],
            "worst": row["worst"],
            "lost": row["lost"],
            "of": row["workloads"],
        }
        for row in marked(trained)
    ]
    return [table(lines, tuple(lines[0])), footnote(trained, counted=True)] if lines else []


def _headline(rows: list[Row], pictures: Pictures) -> list[str]:
    found = headline(rows)
    return found and ["## Headline", *found]


def _sizes(row: Row, *names: str) -> str:
    return ", ".join(f"{name} = {row[name]:,}" for name in names if row.get(name) is not None)


def _reference(rows: list[Row], pictures: Pictures) -> list[str]:
    columns = (
        "implementation", "dtype", "median_ms", "q25_ms", "q75_ms", "compile_s",
        "times_faster_than_loop", "of_floor",
    )  # fmt: skip
    parts: list[str] = []
    published = [row for row in rows if row.get("group") == "reference" and row.get("published_ms")]
    for (workload,), of in by(measured(rows, "reference"), "workload").items():
        sizes = _sizes(of[-1], "V", "H", "T")
        says = f"One SGD step on a sentence of the reference word model{sizes and f': {sizes}'}"
        if of[-1].get("truncation"):
            says += f", truncation `{of[-1]['truncation']}`"
        told = [row["published_ms"] for row in published if row["workload"] == workload]
        says += f". The tutorial gives {told[-1]:g} ms for its double loop." if told else "."
        parts += [says, table(of, columns)]
    return parts and ["## The reference step", *parts]


def _recurrence(rows: list[Row], pictures: Pictures) -> list[str]:
    found = measured(rows, "recurrence")
    if not found:
        return []
    parts = ["## One recurrent layer"]
    if any(row.get("ratio") for row in found):
        parts += [
            "Over all workloads: `worst` is the smallest ratio, `lost` counts those below 1, where "
            "rnn_jax was the slower one.",
            table(marked(found), SUMMARY_COLUMNS),
            footnote(found, counted=True),
            _BY_PEER,
        ]
    for (pass_name,), of in by(found, "pass").items():
        parts += [f"### {pass_name}: milliseconds, and times by ours", by_peer(of), footnote(of)]
        if pass_name == "forward+backward" and any(row.get("ratio") for row in of):
            draw = partial(_draw_ratios, of, "one layer, forward and backward")
            parts.append(pictures.draw("recurrence", "peers' times by ours", draw))
    return parts


def _draw_ratios(rows: list[Row], title: str, path: Path) -> None:
    plots.ratios(path, rows, title)


def _scaling(rows: list[Row], pictures: Pictures) -> list[str]:
    parts: list[str] = []
    for group, axis in SCALING.items():
        found = [row for row in measured(rows, group) if row["pass"] == "forward+backward"]
        if not found:
            continue
        lines = []
        for (cell, _), of in by(found, "cell", "implementation").items():
            sizes, times = [row[axis] for row in of], [row["median_ms"] for row in of]
            # Where it holds: within what each time of this machine is uncertain by. A time that
            # spreads more would let any line pass.
            fit = affine_fit(
                sizes, times, [min(0.3, max(0.15, 2 * relative_spread(row))) for row in of]
            )
            line = {
                "cell": cell,
                "implementation": signed(of)[0]["implementation"],
                "slope at the end": slope(sizes, times),
                "affine fit, ms": fit and f"{fit.fixed_ms:.3g} + {fit.each_ms:.3g} {axis}",
                "holds for": fit and f"{axis} = {fit.low:g} … {fit.high:g}",
                "off by": fit and f"{fit.error:.0%}",
            }
            lines.append(line)
        says = (
            "The slope is that of the last two points, both axes logarithmic. The affine fit is "
            "over the largest range of neighbouring sizes where no time is off by more than 15 %, "
            "or by more than twice its own spread where that is larger, and never by more than "
            "30 %."
        )
        parts += [
            f"## Time against {axis}",
            pictures.draw(group, f"time against {axis}", partial(_draw_scaling, found, axis)),
            "" if parts else says,
            table(lines, tuple(lines[0])),
            footnote(found),
        ]
    return parts


def _draw_scaling(rows: list[Row], axis: str, path: Path) -> None:
    plots.scaling(path, rows, axis)


def _roofline(rows: list[Row], pictures: Pictures) -> list[str]:
    groups = ("recurrence", *SCALING, "deepbench")
    found = [
        row
        for group in groups
        for row in measured(rows, group)
        if row.get("gflops_per_s") and row.get("bytes") and row["pass"] == "forward+backward"
    ]
    ceilings = next((row for row in found if row.get("gemm_gflops_per_s")), None)
    if ceilings is None:
        return []
    gemm, copy = ceilings["gemm_gflops_per_s"], ceilings["copy_gb_per_s"]
    best = max((r for r in found if r["implementation"] == OURS), key=_fraction, default=None)
    said = (
        "" if best is None else f" rnn_jax is nearest at {best['workload']}: {_fraction(best):.0%}."
    )
    return [
        "## Roofline",
        "Operations of the matrix products against bytes that no implementation avoids, weights "
        f"read once; the lines are this machine's large product and large copy.{said}",
        pictures.draw(
            "roofline",
            "roofline",
            lambda path: plots.roofline(path, found, gemm, copy, "forward and backward"),
        ),
    ]


def _fraction(row: Row) -> float:
    return float(row.get("fraction_of_ceiling") or 0)


def _deepbench(rows: list[Row], pictures: Pictures) -> list[str]:
    found = measured(rows, "deepbench")
    published = [row for row in rows if row.get("group") == "deepbench" and row.get("published_ms")]
    if not (found or published):
        return []
    says = "The recurrent problems of DeepBench's training set."
    if published:
        names = [row["implementation"].removeprefix("published ") for row in published]
        says += (
            f" The published times are DeepBench's own, in float32 on NVIDIA GPUs "
            f"({', '.join(dict.fromkeys(names))}); none of them was measured here."
        )
    parts = ["## DeepBench", says, _BY_PEER if any(row.get("ratio") for row in found) else ""]
    for (pass_name,), of in by([*found, *published], "pass").items():
        parts += [f"### DeepBench, {pass_name}", by_peer(of), footnote(of)]
    return parts


def _plain(rows: list[Row], pictures: Pictures) -> list[str]:
    parts: list[str] = []
    for group, says in PLAIN.items():
        found = [row for row in rows if row.get("group") == group and row.get("status") == "ok"]
        if not found:
            continue
        found = [
            row | {"temp_mb": row["temp_bytes"] / 1e6 if row.get("temp_bytes") else None}
            for row in found
        ]
        columns = [
            "workload", "pass", "implementation", "T", "median_ms", "ratio", "value", "unit",
            "latency_ms_per_token", "compile_s", "temp_mb", "of_first", "devices",
        ]  # fmt: skip
        if group != "compile":
            columns = [c for c in columns if c not in ("T", "compile_s", "temp_mb", "of_first")]
        used = [c for c in columns if any(row.get(c) is not None for row in found)]
        parts += [f"## {group.capitalize()}", says, table(signed(found), used), footnote(found)]
    return parts


def _failures(rows: list[Row], pictures: Pictures) -> list[str]:
    found = [row for row in rows if row.get("status") not in (None, "ok")]
    if not found:
        return []
    lines = [
        {
            "implementation": name,
            "status": status,
            "reason": reason,
            "where": f"{_count(of)} of {', '.join(sorted({r.get('group') or '' for r in of}))}",
        }
        for (name, status, reason), of in by(found, "implementation", "status", "reason").items()
    ]
    return ["## What has no time, and why", table(lines, tuple(lines[0]))]


def _count(rows: list[Row]) -> str:
    return "1 row" if len(rows) == 1 else f"{len(rows)} rows"


SECTIONS: tuple[Callable[[list[Row], Pictures], list[str]], ...] = (
    _headline,
    _reference,
    _recurrence,
    _scaling,
    _roofline,
    _deepbench,
    _plain,
    _failures,
)
