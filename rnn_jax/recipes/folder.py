"""The folder of a recipe: its history, its figures and its closing table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rnn_jax.host.files import Row, atomic_path
from rnn_jax.runs import create_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RecipeFolder", "create_recipe_folder"]


@dataclass(frozen=True)
class RecipeFolder:
    """Writers of one recipe's files; made by `create_recipe_folder`."""

    path: Path

    def history(self, *rows: Row) -> None:
        """Add rows to ``history.jsonl``, a line each, so that an interrupted run keeps its own."""
        with (self.path / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))

    def figure(self, name: str, figure: Figure) -> None:
        """Write a matplotlib figure as ``name.png``."""
        with atomic_path(self.path / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=120)

    def close(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print the table published / here, keep it as ``table.md``, and say where all is."""
        table = markdown_table(header, rows)
        self._write("table.md", table + "\n")
        print(f"\n{table}\n\nhistory, figures and this table are in {self.path}")

    def _write(self, name: str, content: str) -> None:
        with atomic_path(self.path / name) as temporary:
            temporary.write_text(content, encoding="utf-8")


def create_recipe_folder(out: str | None) -> RecipeFolder:
    """A new, empty folder: ``out``, or one under ``runs/`` named by the time.

    Raises:
      ValueError: it holds something already, or cannot be written to.
    """
    path = Path(out or ".")
    if out is not None and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"--out {out} exists already: choose another folder")
    return RecipeFolder(create_folder(out).path)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that reads well as text and as Markdown.

    Example:
      >>> print(markdown_table(["model", "here"], [["lstm", "1.1"]]))
      | model | here |
      |-------|------|
      | lstm  | 1.1  |
    """
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])
