"""Result files: rows of JSON lines, read and told apart."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rnn_jax.host.files import reason

__all__ = ["Key", "Row", "by", "key_of", "measured", "read_rows", "relative_spread", "rows_of"]

Row = dict[str, Any]
Key = tuple[Any, ...]
_KEY = ("group", "workload", "pass", "implementation", "dtype", "precision")


def read_rows(name: str) -> list[Row]:
    """The rows of a file that ``--out`` has made.

    Raises:
      ValueError: it cannot be read, or a line of it is no row.
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
    """The rows in the text of the file ``name``; a line that is none is a `ValueError`."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not (isinstance(row, dict) and {"workload", "pass", "implementation"} <= row.keys()):
            raise ValueError(f"{name}, line {number} is no row: name a file made by --out")
        rows.append(row)
    return rows


def key_of(row: Row) -> Key:
    """What tells a row from every other of its file."""
    return tuple(row.get(name) for name in _KEY)


def measured(rows: Iterable[Row], group: str | None = None) -> list[Row]:
    """Those that have a time; of a key measured twice, the last."""
    found = {
        key_of(row): row
        for row in rows
        if row.get("median_ms") and (group is None or row.get("group") == group)
    }
    return list(found.values())


def by(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows in groups of equal values of ``names``, in the order in which they come.

    Example:
      >>> rows = [{"cell": "gru", "T": 1}, {"cell": "lstm", "T": 1}, {"cell": "gru", "T": 2}]
      >>> {key: len(of) for key, of in by(rows, "cell").items()}
      {('gru',): 2, ('lstm',): 1}
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return groups


def relative_spread(row: Row) -> float:
    """The standard deviation, by the quartiles, as part of the median."""
    low, high = row.get("q25_ms"), row.get("q75_ms")
    if low is None or high is None:
        return 0.0
    return float((high - low) / (2 * statistics.NormalDist().inv_cdf(0.75)) / row["median_ms"])
