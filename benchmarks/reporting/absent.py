"""What of the suite has no row: neither a time nor a reason."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.groups import GROUPS
from benchmarks.measuring.case import Case, Options
from benchmarks.reporting.summary import NotedRow
from benchmarks.rows import by

__all__ = ["absent", "is_quick"]

Place = tuple[str, str, str, str]  # group, workload, pass and implementation


def absent(rows: list[NotedRow]) -> list[str]:
    """A list of what the whole suite would have measured on this machine beside these rows.

    Rows of a quick run are held against the quick suite.
    """
    have = _here(rows)
    if not have:
        return []
    suite = _suite(rows, quick=is_quick(rows))
    missing = [place for place in _places(suite) if place not in have]
    if not missing:
        return ["## What was not run", "Nothing: every row of the suite is here."]
    lines = [line for name in GROUPS for line in _lines(name, suite, missing)]
    return [
        "## What was not run",
        "Of the suite these have no row, neither a time nor a reason: the commands that made the "
        "files asked for a part of it, their budget was spent before, or it was added later.",
        "\n".join(lines),
    ]


def is_quick(rows: list[NotedRow]) -> bool:
    """Whether more of these rows are of the quick suite than of the whole one."""
    have = _here(rows)
    whole, quick = (len(have & set(_places(_suite(rows, quick=q)))) for q in (False, True))
    return quick > whole


def _here(rows: list[NotedRow]) -> set[Place]:
    return {
        (row["group"], row["workload"], row["pass"], row["implementation"])
        for row in rows
        if row.get("group") in GROUPS
    }


def _suite(rows: list[NotedRow], *, quick: bool) -> list[Case]:
    """All that would be measured on the machine of these rows."""
    first = rows[0]
    options = Options(
        quick,
        first.get("dtype") or "float32",
        first.get("precision") or "highest",
        platform=first.get("platform") or "cpu",
        device_count=first.get("device_count") or 1,
    )
    groups = (GROUPS[name] for name in GROUPS if _belongs(name, rows))
    return [case for group in groups for case in group.cases(options)]


def _belongs(name: str, rows: list[NotedRow]) -> bool:
    """Whether a group's rows stand in this part: those with a dtype of their own are in one.

    A group that a run leaves to ``accelerator`` belongs where it has a row.
    """
    group = GROUPS[name]
    everywhere = group.follows_dtype and not group.accelerator_only
    return everywhere or any(row.get("group") == name for row in rows)


def _places(cases: Iterable[Case]) -> list[Place]:
    return [
        (case.group, case.workload, case.pass_name, name)
        for case in cases
        for name in case.implementations
    ]


def _lines(group: str, suite: list[Case], missing: list[Place]) -> list[str]:
    """A line for all that lacks the same implementations."""
    whole = {(c.workload, c.pass_name): set(c.implementations) for c in suite if c.group == group}
    lacks = [
        {
            "case": f"{workload} {pass_name}",
            "implementations": "no row"
            if {p[3] for p in same} == whole[workload, pass_name]
            else "without " + ", ".join(p[3] for p in same),
        }
        for (workload, pass_name), same in _by_case(p for p in missing if p[0] == group).items()
    ]
    lines = []
    for (names,), alike in by(lacks, "implementations").items():
        many = f"{len(alike)} of {len(whole)} cases"
        if names == "no row" and len(alike) == len(whole):
            lines.append(f"- `{group}`: no row at all, {many}")
        else:
            cases = ", ".join(line["case"] for line in alike)
            lines.append(f"- `{group}`: {names} in {many}: {cases}")
    return lines


def _by_case(places: Iterable[Place]) -> dict[tuple[str, str], list[Place]]:
    alike: dict[tuple[str, str], list[Place]] = {}
    for place in places:
        alike.setdefault((place[1], place[2]), []).append(place)
    return alike
