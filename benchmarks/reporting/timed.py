"""What the times over a table are of, said by its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.rows import by, measured

__all__ = ["timed"]


def timed(rows: Iterable[Mapping[str, Any]]) -> str:
    """A sentence on what one time is of in each pass.

    Older rows do not say it, and follow those of their pass that do. Without any theirs are of a
    step of the pass, and of rows with one step a call there is nothing to say. Neither is there
    where no row has a time.

    Example:
      >>> row = {"median_ms": 1.0, "steps_per_call": 128, "pass": "token", "ms_of": "a token"}
      >>> timed([row])
      'A time is that of a token; 128 are clocked together.'
    """
    rows = measured(rows)
    if not any(row.get("ms_of") or (row.get("steps_per_call") or 1) > 1 for row in rows):
        return ""
    said = {str(name): _of(same) for (name,), same in by(rows, "pass").items()}
    if len(set(said.values())) == 1:
        return f"A time is that of {next(iter(said.values()))}."
    return "A time is, by pass, that of\n\n" + "\n".join(
        f"- `{name}`: {text}" for name, text in said.items()
    )


def _of(rows: list[Mapping[str, Any]]) -> str:
    said = [str(row["ms_of"]) for row in rows if row.get("ms_of")]
    what = " or ".join(dict.fromkeys(said)) or "one step"
    counts = sorted({row.get("steps_per_call") or 1 for row in rows})
    if counts == [1]:
        return what
    joined = ", ".join(map(str, counts[:-1]))
    many = f"{joined} or {counts[-1]}" if joined else str(counts[-1])
    many = many if len(counts) <= 4 else f"{counts[0]} to {counts[-1]:,}"
    return f"{what}; {many} are clocked together"
