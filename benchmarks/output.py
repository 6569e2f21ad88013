"""Rows to the terminal and to files of JSON lines; nothing measured is ever overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.result_files import Row, rows_of
from benchmarks.tables import table
from rnn_jax.host.files import reason

__all__ = ["new_file", "print_table", "resumed_file"]


def new_file(name: str | None) -> Callable[[Row], None]:
    """A function that appends a row to the new file, as a line of JSON; None: nowhere.

    A row is on the disk when the function returns: an interruption loses nothing that was measured.
    """
    if name is None:
        return lambda row: None
    path = Path(name)
    if path.exists():
        raise ValueError(
            f"--out {name} exists already: results are kept, name a new file or --resume it"
        )
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--out {name} lies in a folder that does not exist: make it first")
    try:
        path.touch(exist_ok=False)
    except OSError as error:
        raise ValueError(f"--out {name} cannot be written ({reason(error)})") from None
    return _appender(path)


def resumed_file(name: str) -> tuple[list[Row], Callable[[Row], None]]:
    """The rows of a file of an earlier run, and a function that appends to it.

    The beginning of a row that was being written when the run died is cut off.
    """
    path = Path(name)
    try:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        rows = rows_of(whole.decode(), f"--resume {name}")
        if whole != data:
            os.truncate(path, len(whole))
    except OSError as error:
        raise ValueError(f"--resume {name} cannot be read ({reason(error)})") from None
    except UnicodeDecodeError:
        raise ValueError(f"--resume {name} is no text: name a file that --out has made") from None
    return rows, _appender(path)


def _appender(path: Path) -> Callable[[Row], None]:
    def write(row: Row) -> None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    return write


def print_table(rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Print the named columns of rows, as `table` sets them."""
    print(table(rows, columns))
