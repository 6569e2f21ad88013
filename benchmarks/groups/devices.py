"""A data-parallel training step on 1, 2, 4 and 8 devices, the batch growing with them or not.

A CPU stands for several devices, each number of them in a process of its own. They share its cores:
what is measured there is what spreading costs, not what it gains.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import flops, spreading
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.workloads import Language
from benchmarks.peers.data_parallel import ALONE, NAMES
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.sections import plain
from benchmarks.reporting.summary import NotedRow
from benchmarks.reporting.tables import Line, table
from benchmarks.rows import Row, by, measured, number

__all__ = ["GROUP"]

_COUNTS: tuple[int, ...] = (1, 2, 4, 8)
_STRONG, _WEAK = "strong", "weak"  # the batch as a whole, or the rows of each device, stay the same
_ROWS = {_STRONG: 32, _WEAK: 4}
_COLUMNS = (
    "pass", "T", "implementation", "devices", "B", "median_ms", "of one device", "ratio",
    "ratio_95", "all_reduces", "all_reduces_in_loops", "all_reduces_run", "all_reduce_bytes",
)  # fmt: skip


def _cases(options: Options) -> list[Case]:
    """One LSTM over an embedding, at two lengths."""
    model = Language("one-layer", "lstm", 1000, 256, 1, 35, 256, 1, 1.0, 5.0)
    lengths, counts = (35, 350), _COUNTS
    if options.quick:
        model, lengths, counts = replace(model, vocab=50, hidden=16, embedding=16), (6, 12), (1, 2)
    model = replace(model, dtype=options.dtype, precision=options.precision)
    if options.platform != "cpu":  # there is no time for more, but a row says why
        counts = tuple(count for count in counts if count <= max(2, options.device_count))
    return [
        _case(replace(model, length=length, batch=rows), kind, count, options)
        for length in lengths
        for kind in (_STRONG, _WEAK)
        for count in counts
        for rows in [_ROWS[kind] * (count if kind == _WEAK else 1)]
    ]


def _case(workload: Language, kind: str, count: int, options: Options) -> Case:
    return Case(
        GROUP.name,
        kind,
        workload.facts() | {"workload": f"{workload.name}-on-{count}", "devices": count},
        tuple(name for name in NAMES if name != ALONE or count == 1),
        lambda: spreading.opened(workload, count, options),
        of="a training step",
        cost=flops.language_step(workload),
        rank=2,
        per_second=("tokens", workload.length * workload.batch),
    )


def _lines(rows: list[Row] | list[NotedRow]) -> list[Line]:
    """Rows in the order of a reader's question, each beside its implementation's on one device."""
    lines: list[Line] = []
    for same in by(measured(rows), "pass", "T", "implementation").values():
        first = next((row for row in same if row["devices"] == 1), None)
        for row in same:
            line = dict(row)
            if first is not None:
                line["of one device"] = number(row, "median_ms") / number(first, "median_ms")
            lines.append(line)
    return lines


def _closing(rows: list[Row]) -> None:
    lines = _lines(rows)
    if lines:
        print("\nA step on several devices\n")
        print(table(lines, _COLUMNS))


def _section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
    lines = _lines(rows)
    if not lines:
        return []
    if any("all_reduces" not in line for line in lines):  # of an older run
        return plain(("workload", "pass", "implementation", "median_ms", "devices"))(
            group, rows, pictures
        )
    blocks = [f"## {group.name.capitalize()}", group.caption, table(lines, _COLUMNS)]
    if any(row.get("platform") == "cpu" for row in rows):
        blocks.insert(
            2,
            "These devices are virtual and share the cores of one CPU: more of them add no "
            "cores, though parts of a batch that run side by side may use them better. With a "
            "batch that stays the same, all above 1 is the cost of spreading. One that grows is to "
            "be compared with the same batch on one device, which need not take n times as long as "
            f"one share: of {_ROWS[_STRONG]} rows that is the first line of `{_STRONG}`. What "
            "does not depend on the machine is how many all-reduces a step runs, and their bytes.",
        )
    return blocks


GROUP = Group(
    "devices",
    _cases,
    (*COLUMNS[:4], "ratio", "ratio_95", "calls", "compile_s", "temp_bytes", "all_reduces",
     "all_reduces_in_loops", "all_reduces_run", "all_reduce_bytes", "reason"),
    "A data-parallel step of a language model of one LSTM layer of 256 units over 1,000 words, "
    f"in a quick run of fewer: `{_STRONG}` shares a batch of {_ROWS[_STRONG]} rows among the "
    f"devices, `{_WEAK}` gives each {_ROWS[_WEAK]} of its own. `{ALONE}` is our step on one "
    "device without a mesh; the others differentiate a plain scan, under `jax.shard_map` and "
    "under `jax.jit`, and sum the gradient of its recurrent matrix in every step of the loop.",
    _section,
    closing=_closing,
    several_devices=True,
    summarised=False,
    apart="each took turns in a process of its own",
)  # fmt: skip
