"""The texts in a column of a table or under a key of records, one after the other."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["csv_texts", "extra", "json_texts", "parquet_texts"]

_LARGEST_FIELD = 1 << 28  # bytes: a single text must fit into memory
_END = "\x1e end of the file \x1e"


def extra(module: str, path: Path) -> Any:
    """A library that only some files need.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{path} needs the library {module.split('.')[0]}: pip install "
            "'rnn-jax-functional[corpora]'"
        ) from error


def csv_texts(lines: Iterator[str], column: str, path: Path, delimiter: str = ",") -> Iterator[str]:
    """The fields of one column of a table, row by row.

    Raises:
        ValueError: it has no such column, a quote is never closed, or it is JSON.
    """
    # A field may be longer than the csv module's limit of 128 KiB, which is global to the process.
    before = csv.field_size_limit(_LARGEST_FIELD)
    try:
        # A row that only the end of the file would show is eaten by a quote that is never closed.
        rows = csv.reader(
            _told_from_json(lines, path), delimiter=delimiter, skipinitialspace=delimiter == ","
        )
        unclosed = (
            "{} has a quote that is never closed, in the row that begins on line {}: close it, or "
            "write a quote inside a field twice"
        )
        first = next(rows, [])
        if first == [_END]:
            return
        if any(_END in name for name in first):
            raise ValueError(unclosed.format(path, 1))
        header = [name.strip() for name in first]
        if header and column not in header:
            raise ValueError(
                f"{path} has no column {column!r}; it has {', '.join(header)}: choose one of them "
                "with --column"
            )
        index = header.index(column) if header else 0
        begins, end = rows.line_num + 1, False
        for row in rows:
            end = row == [_END]
            if any(_END in field for field in row) and not end:
                raise ValueError(unclosed.format(path, begins))
            if not end and len(row) > index:
                yield row[index]
            begins = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path} is not a readable CSV ({error}); correct that row") from error
    finally:
        csv.field_size_limit(before)


def _told_from_json(lines: Iterator[str], path: Path) -> Iterator[str]:
    """The lines of a table, and behind them one that ends every quote."""
    begun = False
    for line in lines:
        if not begun and line.strip():
            if line.lstrip()[:1] in ("{", "["):
                raise ValueError(
                    f"{path} begins as JSON does, not as a CSV: convert it, or name it .txt"
                )
            begun = True
        yield line
    yield _END


def json_texts(lines: Iterator[str], column: str, path: Path) -> Iterator[str]:
    """The texts in a .jsonl file: lines that are texts, or objects with the text under a key."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"line {number} of {path} is not JSON ({error}): correct it, or name the file .txt"
            ) from error
        if isinstance(record, dict):
            if column not in record:
                raise ValueError(
                    f"line {number} of {path} has no key {column!r}; it has "
                    f"{', '.join(record) or 'none'}: choose one of them with --column"
                )
            record = record[column]
        if record is None:
            continue
        if not isinstance(record, str):
            raise ValueError(
                f"line {number} of {path} holds no text but {type(record).__name__}: give the key "
                "of a text with --column"
            )
        yield record


def parquet_texts(path: Path, column: str) -> Iterator[str]:
    """The texts in a column of a Parquet file, a few rows at a time."""
    parquet: Any = extra("pyarrow.parquet", path)
    arrow: Any = extra("pyarrow", path)
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise ValueError(
                    f"{path} has no column {column!r}; it has {', '.join(names)}: choose one of "
                    "them with --column"
                )
            for batch in file.iter_batches(batch_size=256, columns=[column], use_threads=False):
                for text in batch.column(0).to_pylist():
                    if text is None:
                        continue
                    if not isinstance(text, str):
                        raise ValueError(
                            f"the column {column!r} of {path} holds no text but "
                            f"{type(text).__name__}: choose another with --column"
                        )
                    yield text
    except arrow.lib.ArrowException as error:
        raise ValueError(f"{path} is not a readable Parquet file ({error}): write it anew") from (
            error
        )
