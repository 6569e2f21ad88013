"""From a text to batches: tokenising and feeding, with the memory they take against its size."""

from __future__ import annotations

from benchmarks.group import Group
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.reading import LEVELS, feeding, tokenising
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import NotedRow
from benchmarks.reporting.tables import Line, table
from benchmarks.rows import Row, measured, number

__all__ = ["GROUP"]

_COLUMNS = (
    "pass", "workload", "implementation", "median_ms", "ratio", "value", "unit", "resident_mb",
    "resident_before_mb",
)  # fmt: skip


def _cases(options: Options) -> list[Case]:
    """A text of 10 MB, or of the sizes that are asked for."""
    sizes = options.corpus_mb or ((0.2,) if options.quick else (10.0,))
    return [
        case
        for size in (round(mb * 1e6) for mb in sizes)
        for case in (
            *(tokenising(GROUP.name, level, size) for level in LEVELS),
            feeding(GROUP.name, size, batches=20 if options.quick else 100),
        )
    ]


def _lines(rows: list[Row] | list[NotedRow]) -> list[Line]:
    lines: list[Line] = []
    for row in measured(rows):
        line = dict(row)
        for name in ("resident", "resident_before"):
            if row.get(f"{name}_bytes") is not None:
                line[f"{name}_mb"] = number(row, f"{name}_bytes") / 1e6
        lines.append(line)
    return lines


def _closing(rows: list[Row]) -> None:
    lines = _lines(rows)
    if lines:
        print("\nSpeed and memory, of the process and all that it started\n")
        print(table(lines, _COLUMNS))


def _section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
    lines = _lines(rows)
    return [f"## {group.name.capitalize()}", group.caption, table(lines, _COLUMNS)] if lines else []


GROUP = Group(
    "input",
    _cases,
    ("implementation", "median_ms", "ms_95", "ratio", "ratio_95", "calls", "value", "unit",
     "resident_bytes", "resident_before_bytes", "reason"),
    "A generated text of so many MB. `tokenise` makes a file of numbers of it: rnn_jax a token "
    "file, with checksums, by one process and by two (one, where the text is too short for two "
    "to gain anything); NumPy an array, of a text that it holds as a whole, for words by plain "
    "Python and the same NLTK. `feed` reads windows of 35 steps for batches of 64 rows, in "
    "random order, from a file of so many million tokens that the system has in its cache; "
    "PyTorch's loader takes a window at a time and stacks them, as its plain data sets do. Each "
    "implementation runs in a process of its own: `resident` is the most memory of it and its "
    "children together, pages of a mapped file included, `resident_before` what it had before "
    "its first call: its imports (JAX in ours, and in NumPy's of words, which uses our word "
    "tokenizer) and what it had opened.",
    _section,
    closing=_closing,
    summarised=False,
    apart="each took turns in a process of its own",
    follows_dtype=False,
)  # fmt: skip
