"""``python -m benchmarks accelerator``: the laws and the times of a GPU or TPU, in minutes.

Laws first (every cell, layer, truncation and generator beside float64 on the host), then times
beside PyTorch and cuDNN, what XLA offers its loops, and every backend of ours, the most telling
first. Each row is saved as it comes; a page beside the rows says what they show.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.accelerator.page import STEP, made_of
from benchmarks.accelerator.plan import plan
from benchmarks.groups import GROUPS, ceilings, laws
from benchmarks.measuring.isolated import Isolated, Planned
from benchmarks.measuring.roofline import Roofline
from benchmarks.measuring.runner import Limits
from benchmarks.reporting.summary import noted
from benchmarks.reporting.tables import table
from benchmarks.result_files import new_file, resumed_on
from benchmarks.rows import Key, Row, key_of, settled, step_us
from rnn_jax.host.files import atomic_path

__all__ = ["add_arguments", "run"]

# No waiting for a quiet host, and no calls that count energy: the minutes are those of a device.
_LIMITS = {
    False: Limits(rounds=10, case_s=3.0, energy=False),
    True: Limits(rounds=1, case_s=0.0, energy=False),
}
_LEAST_S = 2.0  # of a case, which is not begun with less
_INTERRUPTED = 130  # as a shell has it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    add = parser.add_argument
    add(
        "--minutes",
        type=float,
        default=8.0,
        help="of the device: when they are over the rest is left out, which the page states; 8",
    )
    add("--out", metavar="FILE", help="a new file of JSON lines; accelerator-DEVICE-DATE.jsonl")
    add("--resume", metavar="FILE", help="measure what an earlier run's file lacks, and append it")
    add(
        "--select",
        metavar="A,B",
        default="",
        help="only cases with one of these in group/workload/pass/dtype/precision, such as laws/, "
        "or lstm-32x35x256x28/forward+backward/float32/highest",
    )
    add("--dry-run", action="store_true", help="the same in small shapes, on a CPU, too")
    add("--list", action="store_true", help="print what would be measured, in its order")


def run(options: argparse.Namespace) -> int:
    """Measure, and write the page; 1 where a law does not hold, or is not known to.

    Raises:
      ValueError: an option is out of range, or there is no accelerator.
    """
    if not 0 < options.minutes < float("inf"):
        raise ValueError(f"--minutes must be above 0, not {options.minutes:g}")
    if options.out and options.resume:
        raise ValueError("--out makes a new file and --resume goes on with one: give one of them")
    whole = plan(options.dry_run)
    chosen = _chosen(whole, options.select)
    if options.list:
        print(table([_line(planned) for _, planned in chosen], tuple(_line(whole[0]))))
        return 0
    began = time.perf_counter()
    processes = Isolated("benchmarks.accelerator.plan:plan", options.dry_run)
    try:
        where = _device(processes, options.dry_run)
        file, old, write = _file(options, where)
        rows = list(old)

        def keep(row: Row) -> None:
            write(row)
            rows.append(row)

        end = began + 60 * options.minutes
        try:
            _measure(processes, chosen, rows, _LIMITS[options.dry_run], keep, end)
            code = int(bool(laws.broken(rows)))
        except KeyboardInterrupt:
            code = _INTERRUPTED
    finally:
        processes.close()
    if not rows:
        print(f"nothing was measured: --resume {file} with more --minutes")
        return code
    left = [planned for _, planned in chosen if _lacks(planned, rows)]
    text = made_of(rows, left, file.name, options.minutes)
    with atomic_path(file.with_suffix(".md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"\n{len(rows)} rows in {file}, and {file.with_suffix('.md')} says what they show")
    if left:
        print(f"{len(left)} of {len(chosen)} cases are left out: go on with --resume {file}")
    return code


def _measure(
    processes: Isolated,
    chosen: list[tuple[int, Planned]],
    rows: list[Row],
    limits: Limits,
    keep: Callable[[Row], None],
    end: float,
) -> None:
    """Measure what ``rows``, to which ``keep`` adds, do not have."""
    began, done = time.perf_counter(), settled(rows)
    for index, planned in chosen:
        now = time.perf_counter()
        if end - now < _LEAST_S:
            return
        case = planned.case
        if not _lacks(planned, done):
            continue
        bounded = replace(limits, left_s=end - now)
        new = processes.measure(index, planned, bounded, done, _ceilings(planned, rows))
        for row in new:
            keep(row)
        done |= frozenset(map(key_of, new))
        print(
            f"\n{now - began:.0f} s: {case.name}, {planned.dtype}, {planned.precision}\n\n"
            + table(list(map(_timed, new)), _columns(case.group, new)),
            flush=True,
        )


def _ceilings(planned: Planned, rows: list[Row]) -> Roofline | None:
    """What the rows say that products and arrays in these numbers are bounded by."""
    group, numbers = ceilings.GROUP, (planned.dtype, planned.precision)
    own = [r for r in rows if r["group"] == group.name and (r["dtype"], r["precision"]) == numbers]
    assert group.roofline is not None
    return group.roofline(noted(own))


def _chosen(whole: list[Planned], select: str) -> list[tuple[int, Planned]]:
    """The cases, each with its index, that have one of the parts in their names; all without one.

    Raises:
      ValueError: no name has one of the parts, or there are commas only.
    """
    if not select:
        return list(enumerate(whole))
    names = ["/".join((p.case.name, p.dtype, p.precision)) for p in whole]
    parts = [part for part in map(str.strip, select.split(",")) if part]
    unknown = [part for part in parts if not any(part in name for name in names)]
    if unknown or not parts:
        raise ValueError(
            f"--select takes parts of names such as {names[0]}, and none has "
            f"{(unknown or [select])[0]!r}"
        )
    return [(i, p) for i, p in enumerate(whole) if any(part in names[i] for part in parts)]


def _lacks(planned: Planned, rows: list[Row] | frozenset[Key]) -> bool:
    """Whether an implementation of the case has no row."""
    case, done = planned.case, rows if isinstance(rows, frozenset) else set(map(key_of, rows))
    facts = {**case.facts, "group": case.group, "pass": case.pass_name}
    return any(
        key_of({**facts, **case.own.get(name, {}), "implementation": name}) not in done
        for name in case.implementations
    )


def _line(planned: Planned) -> dict[str, Any]:
    case = planned.case
    return {
        "group": case.group, "workload": case.workload, "pass": case.pass_name,
        "implementations": ", ".join(case.implementations), "dtype": planned.dtype,
        "precision": planned.precision,
    }  # fmt: skip


def _device(processes: Isolated, dry: bool) -> dict[str, Any]:
    try:
        where = processes.where()
    except Exception as error:
        raise ValueError(
            f"JAX finds no device here ({error}): see docs/how-to/accelerator.md"
        ) from None
    if where["platform"] == "cpu" and not dry:
        raise ValueError(
            "JAX finds no GPU or TPU here, only a CPU: install rnn-jax-functional[cuda12], "
            "[cuda13] or [tpu], or try the command out with --dry-run"
        )
    return where


def _file(
    options: argparse.Namespace, where: dict[str, Any]
) -> tuple[Path, list[Row], Callable[[Row], None]]:
    if options.resume:
        rows, write = resumed_on(options.resume, where)
        return Path(options.resume), rows, write
    device = re.sub(r"[^a-z0-9]+", "-", where["device"].lower()).strip("-")
    day = datetime.now(UTC).date().isoformat()
    kind = "-dry-run" if options.dry_run else ""
    name = options.out or f"accelerator-{device}-{day}{kind}.jsonl"
    return Path(name), [], new_file(name)


def _timed(row: Row) -> dict[str, Any]:
    """The row with microseconds a step in time, and errors as they are read."""
    line: dict[str, Any] = dict(row)
    line[STEP] = step_us(row)
    for name in ("largest_error", "allowed_error"):
        line[name] = laws.scientific(row, name)
    return line


def _columns(group: str, rows: list[Row]) -> tuple[str, ...]:
    columns = list(GROUPS[group].columns)
    if any(step_us(row) for row in rows):
        columns.insert(columns.index("median_ms") + 1, STEP)
    return tuple(columns)
