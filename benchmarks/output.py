"""Rows to the terminal and to JSON files; nothing measured is ever overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rnn_jax.files import atomic_path, reason

__all__ = ["check_writable", "print_table", "row_writer", "write_rows"]


def check_writable(file: str | None, option: str = "--json") -> None:
    """Raise ValueError if ``file`` exists or its folder does not: before anything is measured."""
    if file is None:
        return
    if Path(file).exists():
        raise ValueError(f"{option} {file} exists already: results are kept, name a new file")
    if not Path(file).absolute().parent.is_dir():
        raise ValueError(f"{option} {file} lies in a folder that does not exist: make it first")


def row_writer(file: str | None) -> Callable[[dict[str, Any]], None]:
    """A function that appends a row to the new ``file`` at once, as a line of JSON; None: nowhere.

    What was measured before an interruption is kept.
    """
    check_writable(file, "--out")
    if file is None:
        return lambda row: None
    path = Path(file)
    try:
        path.touch(exist_ok=False)
    except OSError as error:
        raise ValueError(f"--out {file} cannot be written ({reason(error)})") from None

    def write(row: dict[str, Any]) -> None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    return write


def write_rows(rows: list[dict[str, Any]], file: str | None) -> None:
    """Write rows as a JSON list with a row a line, whole or not at all; None: nowhere."""
    if file is None:
        return
    check_writable(file)
    lines = ",\n".join(json.dumps(row) for row in rows)
    try:
        with atomic_path(Path(file)) as temporary:
            temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--json {file} cannot be written ({reason(error)})") from None


def print_table(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """Print the named columns of rows, aligned; a Markdown table, so that it can be pasted."""
    cells = [list(columns), ["-" for _ in columns]]
    cells += [[_text(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    cells[1] = ["-" * width for width in widths]
    for row in cells:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
