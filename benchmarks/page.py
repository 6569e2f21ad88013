"""The page of results: a part for every machine, dtype and precision, and all side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import OURS
from benchmarks.result_files import Row, by, measured
from benchmarks.sections import SECTIONS, Pictures
from benchmarks.summary import SIGN, noted
from benchmarks.tables import table

__all__ = ["Page", "Part", "page", "parts"]

_MACHINE = ("device", "platform", "processor")
_GPU = ("gpu", "cuda")


class Part(NamedTuple):
    """Rows of one machine, dtype and precision; ``mark`` ends the names of their pictures."""

    title: str
    mark: str
    rows: list[Row]


class Page(NamedTuple):
    """The Markdown, the part that comes first, and the pictures drawn of it: name to file."""

    text: str
    first: Part
    pictures: dict[str, str]


def page(rows: list[Row], out: Path, files: list[str]) -> Page:
    """The page; its pictures go into ``out``."""
    found = parts(rows)
    texts = [
        "# Results\n\nMade by `python -m benchmarks report` of "
        + ", ".join(f"`{name}`" for name in files)
        + ". What is compared was timed in one process, taking turns, after its check against a "
        "float64 oracle of its own equations. Those are the same for all, and so is the work, but "
        f"for what is marked {SIGN}. Ratios are a peer's time by that of rnn_jax: above 1 rnn_jax "
        "is faster. Times are medians, with quartiles in the files."
    ]
    drawn = []
    for part in found:
        pictures = Pictures(out, part.mark)
        texts += [f"## {part.title}", _machine(part.rows)]
        # A section is written to stand on a page of its own.
        texts += [
            re.sub("^(?=#)", "#", text) for make in SECTIONS for text in make(part.rows, pictures)
        ]
        drawn.append(pictures.drawn)
    texts += _beside(found)
    text = "\n\n".join(text.strip() for text in texts if text) + "\n"
    return Page(text, found[0], drawn[0])


def parts(rows: list[Row]) -> list[Part]:
    """Rows by machine, dtype and precision: of each machine float32 itself first."""
    found: list[tuple[tuple[Any, ...], list[Row]]] = []
    for machine, of in by(rows, *_MACHINE).items():
        split: dict[tuple[Any, ...], list[Row]] = {}
        runs = _dtypes(of)
        for row in of:
            dtype = row.get("dtype") if row.get("group") != "reference" else None
            numbers = (dtype if dtype in runs else runs[0], row.get("precision") or "highest")
            split.setdefault(numbers, []).append(row)
        first = sorted(split, key=lambda numbers: numbers != ("float32", "highest"))
        found += [((*machine, *numbers), split[numbers]) for numbers in first]
    keys = [key for key, _ in found]
    names: list[Part] = []
    for key, of in found:
        _, platform, _, dtype, precision = key
        suffix = "".join(
            f"-{re.sub('[^a-z0-9]+', '', str(x))}" for x in (platform, dtype, precision)
        )
        taken, mark, number = {part.mark for part in names}, "" if not names else suffix, 2
        while names and mark in taken:
            mark, number = f"{suffix}-{number}", number + 1
        names.append(Part(_title(key, keys), mark, noted(of)))
    return names


def _dtypes(rows: list[Row]) -> list[Any]:
    """The dtypes of a machine's runs, float32 first; a row in another belongs to the first.

    NumPy's double loop is in float64 in every run, and the reference step in float32.
    """
    layers = [row for row in rows if row.get("group") != "reference"]
    ours = [row for row in layers if row["implementation"] == OURS]
    dtypes = dict.fromkeys(row.get("dtype") for row in ours or layers)
    return sorted(dtypes, key=lambda dtype: dtype != "float32") or ["float32"]


def _title(key: tuple[Any, ...], keys: list[tuple[Any, ...]]) -> str:
    device, platform, processor, dtype, precision = key
    name = f"{processor if platform == 'cpu' and processor else device} ({platform})"
    # The same accelerator in another host.
    if platform != "cpu" and any(k[:2] == key[:2] and k[2] != processor for k in keys):
        name += f" beside {processor}"
    numbers = str(dtype)
    if precision != "highest":
        as_tf32 = " as TF32" if dtype == "float32" and platform in _GPU else ""
        numbers += f"{as_tf32} (precision {precision})"
    return f"{name}, {numbers}"


def _machine(rows: list[Row]) -> str:
    row = rows[0]
    versions: dict[str, str] = {}
    for one in rows:
        versions |= one.get("versions") or {}
    loads = [one["load_average"] for one in rows if one.get("load_average") is not None]
    cores = f"{row.get('cpu_count')} CPU cores"
    if row.get("processor"):
        cores += f" of {row['processor']}"
    device = "" if row.get("platform") == "cpu" else f"{row.get('device')}, "
    facts = [
        f"{device}{cores}, {row.get('machine')}",
        f"Python {row.get('python')}, "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
        f"measured {min(one.get('date') or '' for one in rows)[:10]}",
    ]
    commits = sorted({one["commit"] for one in rows if one.get("commit")})
    if commits:
        facts.append(f"commit {', '.join(commits)}")
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


def _beside(found: list[Part]) -> list[str]:
    """Our times of one workload in every part."""
    times: dict[tuple[Any, ...], dict[str, float]] = {}
    for part in found:
        for row in measured(part.rows):
            if row["implementation"] == OURS:
                times.setdefault((row["workload"], row["pass"]), {})[part.title] = row["median_ms"]
    titles = dict.fromkeys(part.title for part in found)
    lines = [
        {"workload": workload, "pass": pass_name, **titles, **of}
        for (workload, pass_name), of in times.items()
        if len(of) > 1
    ]
    return ["## Side by side: rnn_jax, ms", table(lines, tuple(lines[0]))] if lines else []
