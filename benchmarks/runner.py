"""The runner: a case's implementations built, checked, timed in turns, and saved row by row."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from benchmarks.case import Case
from benchmarks.control import CONTROL, control
from benchmarks.implementation import Prepared, Unavailable
from benchmarks.machine import environment, load_average, throttle_events
from benchmarks.oracle import Wrong
from benchmarks.peers import versions
from benchmarks.roofline import Roofline
from benchmarks.timing import dispatch_ms, quartiles, take_turns

__all__ = ["Limits", "key_of", "measure", "run"]

Row = dict[str, Any]
Key = tuple[Any, ...]

# Every row has all of these, null where they do not apply.
_KEYS = (
    "group", "workload", "pass", "implementation", "equations", "dtype", "precision", "status",
    "reason", "median_ms", "q25_ms", "q75_ms", "calls", "steps_per_call", "ratio", "control_ms",
    "dispatch_ms", "compile_s", "temp_bytes", "peak_bytes", "flops", "bytes", "gflops_per_s",
    "fraction_of_ceiling", "gemm_gflops_per_s", "copy_gb_per_s", "value", "unit", "tokens_per_s",
    "latency_ms_per_token", "B", "T", "H", "D", "V", "layers", "cell", "truncation", "devices",
    "published_ms", "versions",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """When a case has been timed enough: rounds, seconds, or an interquartile range this small."""

    rounds: int = 20
    case_s: float = 20.0
    spread: float = 0.03


def key_of(row: Row) -> Key:
    """What tells a row from every other of the same machine."""
    names = ("group", "workload", "pass", "implementation", "dtype", "precision")
    return tuple(row.get(name) for name in names)


def run(
    cases: Iterable[Case],
    write: Callable[[Row], None],
    *,
    limits: Limits,
    roofline: Roofline | None = None,
    done: frozenset[Key] = frozenset(),
    budget_s: float | None = None,
    hlo: Path | None = None,
    profile: Path | None = None,
    tell: Callable[[Case, list[Row]], None] = lambda case, rows: None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[Row], list[Case]]:
    """Measure what is not ``done``; the rows, and the cases that the budget did not reach.

    With a budget the most telling cases come first, and none begins when it is spent; a case ends
    at what is left of it.
    """
    todo, began = list(cases), clock()
    if budget_s is not None:
        todo.sort(key=lambda case: case.rank)
    rows: list[Row] = []
    for index, case in enumerate(todo):
        bounded = limits
        if budget_s is not None:
            left = budget_s - (clock() - began)
            if left <= 0:
                return rows, todo[index:]
            bounded = replace(limits, case_s=min(limits.case_s, left))
        new = measure(
            case, write, limits=bounded, roofline=roofline, done=done, hlo=hlo, profile=profile
        )
        if new:
            tell(case, new)
        rows += new
    return rows, []


def measure(
    case: Case,
    write: Callable[[Row], None],
    *,
    limits: Limits,
    roofline: Roofline | None = None,
    done: frozenset[Key] = frozenset(),
    hlo: Path | None = None,
    profile: Path | None = None,
) -> list[Row]:
    """The rows of a case that are not ``done``, each given to ``write`` as soon as it is known.

    Whatever an implementation raises becomes its row's reason: the others are measured all the
    same. Ours is timed in any case, for the others' ratios.
    """
    rows = {name: _row(case, name, roofline) for name in case.implementations}
    rows |= {
        name: _row(case, name, roofline) | {"status": "ok", "published_ms": milliseconds}
        for name, milliseconds in case.published.items()
    }
    wanted = [name for name, row in rows.items() if key_of(row) not in done]
    if not wanted:
        return []
    ready: dict[str, Prepared] = {}
    failures: dict[str, BaseException] = {}
    prepare, throttled = case.open(), throttle_events()
    for name in case.implementations:
        if name not in wanted and name != case.ours:
            continue
        try:
            # Its check has also warmed it up.
            ready[name] = prepare(name)
            if hlo is not None:
                _save_text(hlo, case, name, ready[name])
        except Exception as error:
            failures[name] = error
            _fail(rows[name], error)
            rows[name]["load_average_after"] = load_average()
            if name in wanted:
                write(rows[name])
    gc.collect()
    if profile is not None and case.ours in ready:
        with jax.profiler.trace(str(profile)):
            for _ in range(3):
                ready[case.ours].call()
    if case.timed and ready:
        _time(case, rows, ready, failures, limits)
    throttled_after = throttle_events()
    for name in wanted:
        row = rows[name]
        if name in ready:
            _describe(case, row, ready[name])
            if name in failures:
                _fail(row, failures[name])
        row["load_average_after"] = load_average()
        if throttled is not None and throttled_after is not None:
            row["throttled"] = throttled_after > throttled
    ours = rows.get(case.ours, {}).get("median_ms")
    for name in wanted:
        if ours and name != case.ours and rows[name]["median_ms"]:
            rows[name]["ratio"] = rows[name]["median_ms"] / ours
    case.derive([rows[name] for name in case.implementations])
    for name in wanted:
        if name in ready or name in case.published:
            write(rows[name])
    return [rows[name] for name in wanted]


def _time(
    case: Case,
    rows: dict[str, Row],
    ready: dict[str, Prepared],
    failures: dict[str, BaseException],
    limits: Limits,
) -> None:
    def guarded(name: str) -> Callable[[], object]:
        def call() -> object:
            if name in failures:
                return None
            try:
                return ready[name].call()
            except Exception as error:
                failures[name] = error
                return None

        return call

    calls = {name: guarded(name) for name in ready} | {CONTROL: control()}
    seconds = take_turns(calls, limits.rounds, limits.case_s, spread=limits.spread)
    control_ms = quartiles(seconds.pop(CONTROL))["median_ms"]
    for name, taken in seconds.items():
        if name in failures:
            continue
        prepared, row = ready[name], rows[name]
        row |= quartiles(taken, prepared.steps) | {"calls": len(taken), "control_ms": control_ms}
        if prepared.start is not None:
            row["dispatch_ms"] = dispatch_ms(prepared.start)


def _row(case: Case, name: str, roofline: Roofline | None) -> Row:
    return {
        **dict.fromkeys(_KEYS),
        **case.facts,
        **case.own.get(name, {}),
        "group": case.group,
        "pass": case.pass_name,
        "implementation": name,
        "versions": versions(name),
        **({} if roofline is None else roofline._asdict()),
        **environment(),
        "load_average_after": None,
        "throttled": None,
    }


def _describe(case: Case, row: Row, prepared: Prepared) -> None:
    row |= {
        "status": "ok",
        "equations": prepared.equations,
        "steps_per_call": prepared.steps,
        "compile_s": prepared.compile_s,
        "temp_bytes": prepared.temp_bytes,
        "peak_bytes": prepared.peak_bytes,
    }
    if case.cost is not None:
        row |= case.cost._asdict()
    if row["median_ms"] is None:
        return
    if case.cost is not None:
        row["gflops_per_s"] = speed = case.cost.flops / row["median_ms"] / 1e6
        if row["gemm_gflops_per_s"] is not None:
            ceiling = Roofline(row["gemm_gflops_per_s"], row["copy_gb_per_s"])
            row["fraction_of_ceiling"] = speed / ceiling.bound(case.cost)
    if case.per_second is not None:
        what, amount = case.per_second
        row |= {"value": amount / row["median_ms"] * 1e3, "unit": f"{what}/s"}
        if what == "tokens":
            row["tokens_per_s"] = row["value"]
            if case.group == "generation":
                row["latency_ms_per_token"] = row["median_ms"]


def _fail(row: Row, error: BaseException) -> None:
    first = (str(error).splitlines() or [""])[0]
    row |= {"status": _status(error), "median_ms": None, "q25_ms": None, "q75_ms": None}
    known = isinstance(error, Unavailable | Wrong)
    row["reason"] = first if known else f"{type(error).__name__}: {first}"


def _status(error: BaseException) -> str:
    if isinstance(error, Unavailable):
        return "unavailable"
    if isinstance(error, Wrong):
        return "wrong"
    said = f"{type(error).__name__} {error}".lower()
    full = ("resource_exhausted", "out of memory", "outofmemory", "memoryerror")
    return "out-of-memory" if any(word in said for word in full) else "failed"


def _save_text(folder: Path, case: Case, name: str, prepared: Prepared) -> None:
    if prepared.text is not None:
        folder.mkdir(parents=True, exist_ok=True)
        file = "-".join((*case.name.split("/"), name)).replace(":", "_")
        (folder / f"{file}.txt").write_text(prepared.text(), encoding="utf-8")
