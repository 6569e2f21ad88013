"""The page of results: a part for every machine, dtype and precision, and all side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.group import Group
from benchmarks.groups import GROUPS
from benchmarks.machines import machine_of
from benchmarks.measuring.roofline import Roofline
from benchmarks.peers import OURS, notes
from benchmarks.reporting.absent import absent
from benchmarks.reporting.machine import machine
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.roofline import roofline
from benchmarks.reporting.sections import failures
from benchmarks.reporting.summary import SIGN, NotedRow, criterion, noted
from benchmarks.reporting.tables import Line, cell, table
from benchmarks.reporting.timed import timed
from benchmarks.rows import Row, measured

__all__ = ["Page", "Part", "follows_dtype", "headline", "page", "parts", "sureness"]

_GPU = ("gpu", "cuda")


class Part(NamedTuple):
    """Rows of one machine, dtype and precision; ``mark`` ends the names of their pictures."""

    title: str
    mark: str
    rows: list[NotedRow]


class Page(NamedTuple):
    """The Markdown, the part that comes first, and the pictures drawn of it: name to file."""

    text: str
    first: Part
    pictures: dict[str, str]


def page(
    rows: list[Row], out: Path, files: list[str], *, suite: bool = True, other: str = ""
) -> Page:
    """The page; its pictures go into ``out``. ``other`` says where other machines' pages are.

    Without ``suite`` the rows are of another command than the suite's: it has no pictures, headline
    and roofline, and does not speak of what the suite has besides.
    """
    split = parts(rows)
    texts = [
        "# Results\n\nMade by `python -m benchmarks report` of "
        + ", ".join(f"`{name}`" for name in files)
        + ". What is compared was timed after its check against a float64 oracle of its own "
        "equations (which results that compares, the suite's README says, under \"How it "
        'measures"). Those are the same for all, and so is the work, but for what is marked '
        f"{SIGN}, what the text of a section says and what the last section names. A layer's "
        "workload is its cell, B, T, H and D, as `lstm-32x35x256x28`; a language model's has V "
        f"in place of D. {_turns(rows)} Ratios are a peer's time by that of rnn_jax: above 1 "
        f"rnn_jax is faster. {_recorded(rows)}",
        other,
    ]
    drawn = []
    for part in split:
        drawings = Pictures(out, part.title, part.mark, drawing=suite)
        texts += [
            f"## {part.title}",
            machine(part.rows, _ceilings(part.rows), again=suite),
            sureness(part.rows),
        ]
        # A section is written to stand on a page of its own.
        texts += [re.sub("^(?=#)", "#", text) for text in _sections(part.rows, drawings, suite)]
        drawn.append(drawings.drawn)
    texts += [*_beside(split), *_peers(rows)]
    text = "\n\n".join(text.strip() for text in texts if text) + "\n"
    return Page(text, split[0], drawn[0])


def _turns(rows: list[Row]) -> str:
    """Whether what is compared shared a process, and took turns."""
    here = {row.get("group") for row in rows if row.get("median_ms")}
    apart: dict[str, list[str]] = {}
    for name, group in GROUPS.items():
        if name in here and group.apart:
            apart.setdefault(group.apart, []).append(f"`{name}`")
    said = ["Each peer took turns with rnn_jax in one process, though not always with all others"]
    said += [f"of {' and '.join(names)} {how}" for how, names in apart.items()]
    return "; ".join(said) + "."


def _recorded(rows: list[Row]) -> str:
    """What the files have of the times beside their medians."""
    times = [row for row in rows if row.get("median_ms")]
    names = {"quartiles": "q25_ms", "intervals": "low_ms", "rounds": "rounds_ms"}
    counts = {what: sum(row.get(name) is not None for row in times) for what, name in names.items()}
    said = [
        f"the {what} of {'all' if count == len(times) else f'{count:,} of {len(times):,}'}"
        for what, count in counts.items()
        if count
    ]
    text = f"Times are medians; the files have {', '.join(said) or 'nothing beside them'}"
    lacking = [what for what, count in counts.items() if not count]
    return f"{text}, but lack {' and '.join(lacking)}." if said and lacking else f"{text}."


def headline(rows: list[NotedRow]) -> list[str]:
    """What was gained: sentences, and a line a peer with what the lines compare that differs."""
    lines: list[Line] = []
    sentences: list[str] = []
    footnotes: list[str] = []
    for group in GROUPS.values():
        if group.headline is not None:
            own, text = group.headline(_own(group, rows))
            lines += own
            (footnotes if own else sentences).append(text)
    if lines:
        columns = tuple(dict.fromkeys(name for line in lines for name in line))
        return [*sentences, table(lines, columns), *footnotes]
    return list(filter(None, sentences))


def _sections(rows: list[NotedRow], pictures: Pictures, suite: bool) -> list[str]:
    """All sections of a part, in their order on the page."""
    above = [group for group in GROUPS.values() if group.above_roofline]
    below = [group for group in GROUPS.values() if not group.above_roofline]
    ceilings = _ceilings(rows)
    lines = headline(rows) if suite else []
    texts = ["## Headline", *lines] if lines else []
    for group in above:
        texts += _section(group, rows, pictures)
    points = [
        row
        for group in (*above, *below)
        if group.in_roofline
        for row in measured(_own(group, rows))
    ]
    if suite:
        texts += roofline(points, ceilings, pictures)
    for group in below:
        texts += _section(group, rows, pictures)
    return texts + failures(rows) + (absent(rows) if suite else [])


def _ceilings(rows: list[NotedRow]) -> Roofline | None:
    found = (g.roofline(_own(g, rows)) for g in GROUPS.values() if g.roofline is not None)
    return next((ceilings for ceilings in found if ceilings is not None), None)


def _section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
    """A group's section, with what its times are of under the heading."""
    own = _own(group, rows)
    heading = group.section(group, own, pictures)
    return [*heading[:1], timed(own), *heading[1:]]


def sureness(rows: list[NotedRow]) -> str:
    """`criterion` of the rows whose medians count: of a ceiling it is the best call."""
    bests = {group.name for group in GROUPS.values() if group.roofline is not None}
    return criterion([row for row in rows if row.get("group") not in bests])


def _own(group: Group, rows: list[NotedRow]) -> list[NotedRow]:
    return [row for row in rows if row.get("group") == group.name]


def parts(rows: list[Row]) -> list[Part]:
    """Rows by machine, its model, dtype and precision: of each machine float32 itself first."""
    split: list[tuple[tuple[Any, ...], list[Row]]] = []
    places: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        places.setdefault(machine_of(row), []).append(row)
    for place, own in places.items():
        by_numbers: dict[tuple[Any, ...], list[Row]] = {}
        runs = _dtypes(own)
        for row in own:
            dtype = row.get("dtype") if follows_dtype(row) else None
            numbers = (dtype if dtype in runs else runs[0], row.get("precision") or "highest")
            by_numbers.setdefault(numbers, []).append(row)
        first = sorted(by_numbers, key=lambda numbers: numbers != ("float32", "highest"))
        split += [((*place, *numbers), by_numbers[numbers]) for numbers in first]
    keys = [key for key, _ in split]
    named: list[Part] = []
    for key, own in split:
        platform, *_, dtype, precision = key
        suffix = "".join(
            f"-{re.sub('[^a-z0-9]+', '', str(x))}" for x in (platform, dtype, precision)
        )
        taken, mark, count = {part.mark for part in named}, "" if not named else suffix, 2
        while named and mark in taken:
            mark, count = f"{suffix}-{count}", count + 1
        named.append(Part(_title(key, keys), mark, noted(own)))
    return named


def _dtypes(rows: list[Row]) -> list[Any]:
    """The dtypes of a machine's runs, float32 first; a row in another belongs to the first.

    NumPy's double loop is in float64 in every run, and the reference step in float32.
    """
    following = [row for row in rows if follows_dtype(row)]
    ours = [row for row in following if row["implementation"] == OURS]
    dtypes = dict.fromkeys(row.get("dtype") for row in ours or following)
    return sorted(dtypes, key=lambda dtype: dtype != "float32") or ["float32"]


def follows_dtype(row: Row) -> bool:
    """Whether it is in the dtype of its run."""
    group = GROUPS.get(row.get("group", ""))
    return group is None or group.follows_dtype


def _title(key: tuple[Any, ...], keys: list[tuple[Any, ...]]) -> str:
    platform, device, processor, cores, model, dtype, precision = key
    name = f"{processor if platform == 'cpu' and processor else device} ({platform})"
    # The same accelerator in another host.
    if platform != "cpu" and any(k[:2] == key[:2] and k[2] != processor for k in keys):
        name += f" beside {processor}"
    if any(k[:3] == key[:3] and k[3] != cores for k in keys):
        name += f" with {cores} CPU cores"
    if model or len({k[4] for k in keys if k[:4] == key[:4]}) > 1:
        name += f", {model or 'its model not recorded'}"
    numbers = str(dtype)
    if precision != "highest":
        as_tf32 = " as TF32" if dtype == "float32" and platform in _GPU else ""
        numbers += f"{as_tf32} (precision {precision})"
    return f"{name}, {numbers}"


def _peers(rows: list[Row]) -> list[str]:
    """What is to be known of each library whose times are on the page."""
    timed = dict.fromkeys(row["implementation"] for row in rows if row.get("median_ms"))
    lines = [
        f"- {', '.join(f'`{name}`' for name in names)} {text}"
        for text, names in notes(timed).items()
    ]
    return ["## What each library does otherwise", "\n".join(lines)] if lines else []


def _beside(split: list[Part]) -> list[str]:
    """Our times of one workload in every part."""
    times: dict[tuple[Any, ...], dict[str, str]] = {}
    for part in split:
        for row in measured(part.rows):
            if row["implementation"] == OURS:
                key = (row["group"], row["workload"], row["pass"])
                times.setdefault(key, {})[part.title] = cell(row, "median_ms")
    titles = dict.fromkeys(part.title for part in split)
    lines = [
        {"group": group, "workload": workload, "pass": pass_name, **titles, **own}
        for (group, workload, pass_name), own in times.items()
        if len(own) > 1
    ]
    if not lines:
        return []
    return [
        "## Side by side: rnn_jax, ms",
        "Times of workloads that more than one part has. The parts are of other days and commits, "
        "which they name, so that not all of a difference is the machine's.",
        table(lines, tuple(lines[0])),
    ]
