"""Markdown tables, aligned so that they also read well as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.rows import unsteady

__all__ = ["FORM", "UNSURE", "Line", "cell", "marks", "table"]

Line = dict[str, Any]  # of a table: values by column

UNSURE = "~"  # marks a time that is not as sure as it ought to be
FORM = "°"  # marks a peer's time in a form that the suite would not take, or not so choose, now

# Columns that show two keys of a row, and those that bear the mark.
_INTERVALS = {"ms_95": ("low_ms", "high_ms"), "ratio_95": ("ratio_low", "ratio_high")}
_MARKED = ("median_ms", "ratio")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The named columns of rows, each cell as `cell` has it.

    Example:
      >>> print(table([{"name": "gru", "ms": 1.5}, {"name": "lstm"}], ("name", "ms")))
      | name | ms    |
      | ---- | ----- |
      | gru  | 1.500 |
      | lstm | -     |
    """
    cells = [list(columns), *([cell(row, column) for column in columns] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    cells.insert(1, ["-" * width for width in widths])
    lines = (" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(f"| {line} |" for line in lines)


def cell(row: Mapping[str, Any], column: str) -> str:
    """What a row shows in a column: three digits of a float, "-" for nothing.

    The median and the ratio of a row have its `marks`; the columns ``ms_95`` and ``ratio_95`` are
    their intervals.

    Example:
      >>> row = {"median_ms": 2.0, "low_ms": 1.8, "high_ms": 2.1}
      >>> cell(row, "median_ms"), cell(row, "ms_95"), cell(row, "ratio_95")
      ('2.000 ~', '1.800 … 2.100', '-')
    """
    if column in _INTERVALS:
        low, high = (row.get(key) for key in _INTERVALS[column])
        return "-" if low is None or high is None else f"{_text(low)} … {_text(high)}"
    text = _text(row.get(column))
    if column in _MARKED and row.get(column) is not None:
        return " ".join((text, *marks(row)))
    return text


def marks(row: Mapping[str, Any]) -> list[str]:
    """`UNSURE` of a row that is `benchmarks.rows.unsteady`, and `FORM`.

    Example:
      >>> marks({"median_ms": 2.0, "busy_share": 0.5, "older_form": "the library's default"})
      ['~', '°']
    """
    signs = {UNSURE: unsteady(row), FORM: row.get("older_form")}
    return [sign for sign, applies in signs.items() if applies]


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "\\|")
