"""The rows of ``metrics.jsonl``: one JSON object a line, each with a checksum of its own."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

from rnn_jax.host.checksums import sealed, unsealed
from rnn_jax.host.files import Row
from rnn_jax.types import Params

__all__ = ["History", "read_history"]


@dataclass
class History:
    """The lines of a history in their order; a damaged one is kept as it is.

    lines: a row, or the text of a line that is none.
    best_params: those of the lowest validation loss; None where nothing was evaluated.
    ended: why training has ended: done, no better, interrupted or diverged.
    step: the step at which it ended; the state that comes back may be one of before.
    interrupted: whether a signal asked it to end, if only when all was done.
    """

    lines: list[Row | str]
    best_params: Params = None
    ended: str = ""
    step: int = 0
    interrupted: bool = False

    @property
    def rows(self) -> list[Row]:
        """The rows that can be read."""
        return [line for line in self.lines if not isinstance(line, str)]

    def until(self, step: int) -> History:
        """The history without the rows after a step, which a resumed run makes again."""
        return History([x for x in self.lines if isinstance(x, str) or x["step"] <= step])

    def __str__(self) -> str:
        lines = (x if isinstance(x, str) else json.dumps(sealed(x)) for x in self.lines)
        return "".join(f"{line}\n" for line in lines)


def read_history(file: Path) -> History:
    """The history in a file, empty where there is none; a warning names damaged lines."""
    try:
        content = file.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return History([])
    lines = [_parsed(line) for line in content.split("\n") if line]
    damaged = [number for number, line in enumerate(lines, 1) if isinstance(line, str)]
    if damaged:
        warnings.warn(
            f"{file} is damaged in line {', '.join(map(str, damaged))}: what stands there is kept, "
            "but not used",
            stacklevel=2,
        )
    return History(lines)


def _parsed(line: str) -> Row | str:
    try:
        row = unsealed(json.loads(line))
        numbers = row["epoch"], row["step"], 0 if row["loss"] is None else row["loss"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return line
    return row if all(isinstance(n, int | float) for n in numbers) else line
