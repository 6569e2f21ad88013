"""The page of an accelerator's rows: what holds, what a step takes, and what was not measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.groups.laws import broken, judged, scientific
from benchmarks.measuring.isolated import Planned
from benchmarks.reporting.page import page
from benchmarks.reporting.tables import Line, table
from benchmarks.rows import Row, by, key_of, measured, step_us

__all__ = ["STEP", "made_of"]

STEP = "µs a step"
_FACTS = ("driver_version", "power.limit", "clocks.max.sm", "device_count", "xla_flags")


def made_of(rows: list[Row], left: list[Planned], file: str, minutes: float) -> str:
    """The page, as Markdown, of a file's rows and of the cases that are left."""
    newest = list({key_of(row): row for row in rows}.values())
    last = newest[-1]
    # What is common to all pages of rows, one heading further down, without its title.
    _, _, detail = page(newest, Path(), [file], suite=False).text.partition("\n")
    texts = [
        f"# {last['device']}",
        _facts(newest),
        *_laws(newest),
        *_steps(newest),
        *_left(left, minutes),
        "# Everything in detail",
        detail,
    ]
    return "\n\n".join(text.strip() for text in texts if text) + "\n"


def _facts(rows: list[Row]) -> str:
    """The device, its driver, the versions of everything."""
    last, versions = rows[-1], {"jax": rows[-1]["jax"], "numpy": rows[-1]["numpy"]}
    for row in rows:
        versions |= row["versions"]
    facts = {
        "device": f"{last['device']} ({last['platform']})",
        **{name: last.get(name) for name in _FACTS},
        "host": f"{last['processor']}, {last['cpu_count']} cores, {last['machine']}",
        "python": last["python"],
        **dict(sorted(versions.items())),
        "commit": ", ".join(sorted({str(row["commit"]) for row in rows})),
        "measured": f"{min(row['date'] for row in rows)} to {max(row['date'] for row in rows)}",
    }
    lines: list[Line] = [{"what": n, "value": v} for n, v in facts.items() if v is not None]
    dry = "A dry run: a CPU stands for the accelerator, and no time here says anything.\n\n"
    return (dry if last["platform"] == "cpu" else "") + table(lines, ("what", "value"))


def _laws(rows: list[Row]) -> list[str]:
    """How many laws hold in each dtype and precision, and which of them do not."""
    tried = judged(rows)
    if not tried:
        return []
    lines: list[Line] = []
    for (name, dtype, precision), same in by(tried, "implementation", "dtype", "precision").items():
        worst = next((row for row in same if row.get("largest_error") is not None), None)
        lines.append(
            {
                "implementation": name,
                "dtype": dtype,
                "precision": precision,
                "judged": len(same),
                "hold": sum(row["status"] == "ok" for row in same),
                "nearest to its bound": worst and f"{worst['workload']}, {worst['pass']}",
                "off by": worst and scientific(worst, "largest_error"),
                "allowed": worst and scientific(worst, "allowed_error"),
            }
        )
    blocks = ["## Laws", table(lines, tuple(lines[0]))]
    if told := broken(rows):
        names = ("workload", "pass", "implementation", "dtype", "precision", "status", "reason")
        blocks += ["These do not hold, or are not known to:", table(told, names)]
    return blocks


def _steps(rows: list[Row]) -> list[str]:
    """Microseconds that a step in time takes, a column an implementation."""
    blocks = []
    timed = [row for row in measured(rows) if step_us(row) is not None]
    for (group, dtype, precision), same in by(timed, "group", "dtype", "precision").items():
        names = tuple(dict.fromkeys(row["implementation"] for row in same))
        lines: list[Line] = [
            {"workload": workload, "pass": name, **{r["implementation"]: step_us(r) for r in own}}
            for (workload, name), own in by(same, "workload", "pass").items()
        ]
        blocks += [
            f"### {group}, {dtype}, {precision}",
            table(lines, ("workload", "pass", *names)),
        ]
    return ["## Microseconds a step in time", *blocks] if blocks else []


def _left(left: list[Planned], minutes: float) -> list[str]:
    """What no row speaks of; what has a row without a time is told further down."""
    if not left:
        return []
    counts: dict[tuple[str, ...], list[str]] = {}
    for planned in left:
        key = (planned.case.group, planned.dtype, planned.precision)
        counts.setdefault(key, []).append(planned.case.name)
    lines: list[Line] = [
        {
            "group": key[0], "dtype": key[1], "precision": key[2], "cases": len(names),
            "the first": names[0], "why": f"the {minutes:g} minutes were over",
        }
        for key, names in counts.items()
    ]  # fmt: skip
    return ["## Not measured", table(lines, tuple(lines[0]))]
