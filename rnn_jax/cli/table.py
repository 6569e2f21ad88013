"""Tables of plain text, for terminals and for other programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["aligned", "as_flag", "duration", "json_safe", "number"]


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns as wide as their widest cell, the first ``left`` flush left, the others flush right.

    Example:
      >>> print(aligned(["run", "loss"], [["runs/a", "4.1"], ["b", "12.5"]]))
      run     loss
      runs/a   4.1
      b       12.5
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def number(value: float | None, form: str = "") -> str:
    """A number in a format; a dash where there is none, or none that is finite."""
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def duration(seconds: float | None) -> str:
    """A time as hours, minutes and seconds.

    Example:
      >>> duration(42), duration(3725), duration(None)
      ('0:42', '1:02:05', '–')
    """
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def as_flag(name: str) -> str:
    """A setting's name as the command line writes it, without its dashes in front."""
    return name.replace("_", "-")


def json_safe(value: Any) -> Any:
    """``value`` with None for numbers that JSON has none of: NaN and the infinities.

    Example:
      >>> json_safe({"loss": float("nan"), "steps": [1, 2.5]})
      {'loss': None, 'steps': [1, 2.5]}
    """
    if isinstance(value, dict):
        return {name: json_safe(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
