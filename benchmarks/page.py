"""The page of results: its sections, from rows to Markdown, and their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.fits import affine_fit, slope
from benchmarks.peers import OURS
from benchmarks.result_files import Row, by, measured, relative_spread
from benchmarks.summary import SUMMARY_COLUMNS, summarise
from benchmarks.tables import table

__all__ = ["headline", "page"]

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


def page(rows: list[Row], out: Path, files: list[str]) -> str:
    """The page as Markdown; its pictures go into ``out``."""
    machines = by(rows, "device", "platform")
    parts = [
        "# Results\n\nMade by `python -m benchmarks report` of "
        + ", ".join(f"`{name}`" for name in files)
        + ". Every implementation did the same work in the same process, taking turns, and was "
        "held to a float64 oracle before it was timed. Ratios are a peer's time by that of "
        "rnn_jax: above 1 rnn_jax is faster. Times are medians, with quartiles in the files."
    ]
    for index, ((device, platform), of) in enumerate(machines.items()):
        several = len(machines) > 1
        mark = f"-{platform}" if several else ""
        parts.append(f"## {device} ({platform})\n\n{_machine(of)}" if several else _machine(of))
        for section in (
            headline,
            _reference,
            _recurrence,
            _scaling,
            _roofline,
            _deepbench,
            _plain,
        ):
            parts += section(of, out, mark)
        parts += _failures(of)
        if index + 1 < len(machines):
            parts.append("---")
    if len(machines) > 1:
        parts += _beside(machines)
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _machine(rows: list[Row]) -> str:
    row = rows[0]
    versions: dict[str, str] = {}
    for one in rows:
        versions |= one.get("versions") or {}
    loads = [one["load_average"] for one in rows if one.get("load_average") is not None]
    facts = [
        f"{row.get('device')} ({row.get('platform')}), {row.get('cpu_count')} CPU cores, "
        f"{row.get('machine')}",
        f"Python {row.get('python')}, "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
        f"measured {min(one.get('date') or '' for one in rows)[:10]}",
    ]
    if row.get("commit"):
        facts.append(f"commit {row['commit']}")
    if row.get("gemm_gflops_per_s"):
        facts.append(
            f"ceilings: {row['gemm_gflops_per_s']:.0f} GFLOP/s in a large product, "
            f"{row['copy_gb_per_s']:.1f} GB/s in a large copy"
        )
    if loads:
        facts.append(f"load average {min(loads):.1f} to {max(loads):.1f}")
    if any(one.get("throttled") for one in rows):
        facts.append("throttled at times")
    return "\n".join(f"- {fact}" for fact in facts)


def headline(rows: list[Row], out: Path, mark: str) -> list[str]:
    """What was gained, in a line a peer."""
    lines = []
    reference = {row["implementation"]: row for row in measured(rows, "reference")}
    loop, scan = reference.get("numpy-loop"), reference.get("jax-scan")
    if loop and scan:
        lines.append(
            {
                "what": "reference step (V 8000, H 100), many steps a call",
                "beside": "NumPy, double loop",
                "times faster": loop["median_ms"] / scan["median_ms"],
                "worst": None,
                "lost": None,
                "of": 1,
            }
        )
    for row in summarise(measured(rows, "recurrence")):
        if row["pass"] == "forward+backward":
            lines.append(
                {
                    "what": "one layer, forward and backward, geometric mean",
                    "beside": row["implementation"],
                    "times faster": row["geometric_mean"],
                    "worst": row["worst"],
                    "lost": row["lost"],
                    "of": row["workloads"],
                }
            )
    if not lines:
        return []
    return ["## Headline" if not mark else "### Headline", table(lines, tuple(lines[0]))]


def _reference(rows: list[Row], out: Path, mark: str) -> list[str]:
    found = measured(rows, "reference")
    columns = ("implementation", "dtype", "median_ms", "q25_ms", "q75_ms", "compile_s")
    extra = ("times_faster_than_loop", "of_floor")
    if not found:
        return []
    return [
        "## The reference step",
        "One SGD step of the published word model: 45 words, vocabulary 8,000, 100 hidden units, "
        "sliding windows of 4. The tutorial gives 180 ms for its double loop.",
        table(found, (*columns, *extra)),
    ]


def _recurrence(rows: list[Row], out: Path, mark: str) -> list[str]:
    found = measured(rows, "recurrence")
    if not found:
        return []
    parts = ["## One recurrent layer", table(summarise(found), SUMMARY_COLUMNS)]
    for (pass_name,), of in by(found, "pass").items():
        parts += [f"### {pass_name}: milliseconds, and times by ours", _by_peer(of)]
        if pass_name == "forward+backward":
            points = {
                workload: {r["implementation"]: r["ratio"] for r in each if r.get("ratio")}
                for (workload,), each in by(of, "workload").items()
            }
            if any(points.values()):
                plots.ratios(
                    out / f"recurrence{mark}.png", points, "one layer, forward and backward"
                )
                parts.append(f"![peers' times by ours](recurrence{mark}.png)")
    return parts


def _by_peer(rows: list[Row]) -> str:
    """A line a workload: our time, and every peer's by it; where ours lost, in bold."""
    names = [name for (name,) in by(rows, "implementation") if name != OURS]
    lines = []
    for (workload,), of in by(rows, "workload").items():
        line: dict[str, Any] = {"workload": workload, f"{OURS}, ms": None}
        line |= dict.fromkeys(names)
        for row in of:
            ratio = row.get("ratio")
            if row["implementation"] == OURS:
                line[f"{OURS}, ms"] = row["median_ms"]
            elif ratio:
                line[row["implementation"]] = f"**{ratio:.2f}**" if ratio < 1 else f"{ratio:.2f}"
        lines.append(line)
    return table(lines, tuple(lines[0]))


def _scaling(rows: list[Row], out: Path, mark: str) -> list[str]:
    parts: list[str] = []
    for group, axis in SCALING.items():
        found = [row for row in measured(rows, group) if row["pass"] == "forward+backward"]
        if not found:
            continue
        plots.scaling(out / f"{group}{mark}.png", found, axis)
        lines = []
        for (cell, name), of in by(found, "cell", "implementation").items():
            sizes, times = [row[axis] for row in of], [row["median_ms"] for row in of]
            # Where it holds: within what a time of this machine is uncertain by.
            fit = affine_fit(sizes, times, max(0.15, *(2 * relative_spread(row) for row in of)))
            line = {
                "cell": cell,
                "implementation": name,
                "slope at the end": slope(sizes, times) if len(set(sizes)) > 1 else None,
                "affine fit, ms": fit and f"{fit.fixed_ms:.3g} + {fit.each_ms:.3g} {axis}",
                "holds for": fit and f"{axis} = {fit.low:g} … {fit.high:g}",
                "off by": fit and f"{fit.error:.0%}",
            }
            lines.append(line)
        parts += [
            f"## Time against {axis}",
            f"![time against {axis}]({group}{mark}.png)",
            "The slope is that of the last two points, both axes logarithmic. The affine fit is "
            "over the largest range of neighbouring sizes where no time is off by more than 15 %, "
            "or twice its own spread."
            if not parts
            else "",
            table(lines, tuple(lines[0])),
        ]
    return parts


def _roofline(rows: list[Row], out: Path, mark: str) -> list[str]:
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
    plots.roofline(out / f"roofline{mark}.png", found, gemm, copy, "forward and backward")
    best = max((r for r in found if r["implementation"] == OURS), key=_fraction, default=None)
    said = (
        "" if best is None else f" rnn_jax is nearest at {best['workload']}: {_fraction(best):.0%}."
    )
    return [
        "## Roofline",
        "Operations of the matrix products against bytes that no implementation avoids, weights "
        f"read once; the lines are this machine's large product and large copy.{said}",
        f"![roofline](roofline{mark}.png)",
    ]


def _fraction(row: Row) -> float:
    return float(row.get("fraction_of_ceiling") or 0)


def _deepbench(rows: list[Row], out: Path, mark: str) -> list[str]:
    found = [row for row in rows if row.get("group") == "deepbench"]
    shown = [row | {"ms": row.get("median_ms") or row.get("published_ms")} for row in found]
    shown = [row for row in shown if row["ms"]]
    if not shown:
        return []
    return [
        "## DeepBench",
        "The recurrent problems of DeepBench's training set; the published rows are other "
        "people's, in float32 on other machines, from its results.",
        table(shown, ("workload", "pass", "implementation", "ms", "ratio", "gflops_per_s")),
    ]


def _plain(rows: list[Row], out: Path, mark: str) -> list[str]:
    parts: list[str] = []
    for group, says in PLAIN.items():
        found = [row for row in rows if row.get("group") == group and row.get("status") == "ok"]
        if not found:
            continue
        columns = [
            "workload", "pass", "implementation", "T", "median_ms", "ratio", "value", "unit",
            "latency_ms_per_token", "compile_s", "temp_bytes", "of_first", "devices",
        ]  # fmt: skip
        if group != "compile":
            columns = [c for c in columns if c not in ("T", "compile_s", "temp_bytes", "of_first")]
        used = [c for c in columns if any(row.get(c) is not None for row in found)]
        parts += [f"## {group.capitalize()}", says, table(found, used)]
    return parts


def _failures(rows: list[Row]) -> list[str]:
    found = [row for row in rows if row.get("status") not in (None, "ok")]
    if not found:
        return []
    lines = [
        {
            "implementation": name,
            "status": status,
            "reason": reason,
            "where": f"{len(of)} rows of {', '.join(sorted({r.get('group') or '' for r in of}))}",
        }
        for (name, status, reason), of in by(found, "implementation", "status", "reason").items()
    ]
    return ["## What has no time, and why", table(lines, tuple(lines[0]))]


def _beside(machines: dict[tuple[Any, ...], list[Row]]) -> list[str]:
    """Our times of one workload on every machine."""
    names = {key: f"{key[0]} ({key[1]})" for key in machines}
    times: dict[tuple[Any, ...], dict[str, float]] = {}
    for machine, of in machines.items():
        for row in measured(of):
            if row["implementation"] == OURS:
                key = (row["workload"], row["pass"], row.get("dtype"))
                times.setdefault(key, {})[names[machine]] = row["median_ms"]
    lines = [
        {"workload": key[0], "pass": key[1], "dtype": key[2], **dict.fromkeys(names.values()), **of}
        for key, of in times.items()
        if len(of) > 1
    ]
    if not lines:
        return []
    return ["## The machines side by side, ms", table(lines, tuple(lines[0]))]
