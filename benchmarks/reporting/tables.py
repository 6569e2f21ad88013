"""Markdown tables, aligned so that they also read well as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Line", "table"]

Line = dict[str, Any]  # of a table: values by column


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The named columns of rows; three digits of a float, "-" for nothing.

    Example:
      >>> print(table([{"name": "gru", "ms": 1.5}, {"name": "lstm"}], ("name", "ms")))
      | name | ms    |
      | ---- | ----- |
      | gru  | 1.500 |
      | lstm | -     |
    """
    cells = [list(columns), *([_text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    cells.insert(1, ["-" * width for width in widths])
    lines = (" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(f"| {line} |" for line in lines)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "\\|")
