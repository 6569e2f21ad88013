"""Files of JSON lines, a row each: read, written, resumed; nothing measured is ever overwritten."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from benchmarks.machines import machine_of, unlike
from benchmarks.rows import Row
from rnn_jax.host.files import reason

__all__ = ["new_file", "read_rows", "resumed_file", "resumed_on", "rows_of"]


def read_rows(name: str) -> list[Row]:
    """The rows of a file that ``--out`` has made.

    Raises:
      ValueError: it cannot be read, or a line of it is not a row.
    """
    try:
        rows = rows_of(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is no text"
        raise ValueError(f"{name} cannot be read ({why}): name a file made by --out") from None
    if not rows:
        raise ValueError(f"{name} has no rows: name a file of a run that measured something")
    return rows


def rows_of(text: str, name: str) -> list[Row]:
    """The rows in the text of the file ``name``; a line that is not a row is a `ValueError`.

    An older file may lack keys that were added later: whoever reads one uses ``get``.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not (isinstance(row, dict) and {"workload", "pass", "implementation"} <= row.keys()):
            raise ValueError(f"{name}, line {number} is no row: name a file made by --out")
        rows.append(cast(Row, row))
    return rows


def new_file(name: str | None) -> Callable[[Row], None]:
    """A function that appends a row to the new file, as a line of JSON; None writes nowhere.

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


def resumed_on(name: str, here: Mapping[str, Any]) -> tuple[list[Row], Callable[[Row], None]]:
    """`resumed_file`, on the machine whose `environment` is ``here``.

    Raises:
      ValueError: its rows are of another machine.
    """
    rows, write = resumed_file(name)
    for row in rows:
        if facts := unlike(machine_of(row), machine_of(here)):
            fact, its, this = facts[0]
            raise ValueError(
                f"--resume {name} was measured on another machine, whose {fact} is "
                f"{its} and not {this}: name a new file with --out"
            )
    for key in ("commit", "jax"):
        others = {row.get(key) for row in rows} - {here[key]}
        if others:
            print(
                f"benchmarks: {name} has rows of {key} {', '.join(map(str, others))}, and this "
                f"is {here[key]}",
                file=sys.stderr,
            )
    return rows, write


def _appender(path: Path) -> Callable[[Row], None]:
    def write(row: Row) -> None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    return write
