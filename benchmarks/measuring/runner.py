"""The runner: a case's implementations built, checked, timed in turns, and saved row by row."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jax

from benchmarks.measuring.case import Case
from benchmarks.measuring.energy import count
from benchmarks.measuring.implementation import Prepared, Unavailable
from benchmarks.measuring.machine import environment, load_average, throttle_events
from benchmarks.measuring.oracle import Wrong
from benchmarks.measuring.quiet import busy_share, used, wait_until_quiet
from benchmarks.measuring.roofline import Roofline
from benchmarks.measuring.turns import Limits, compare_with, time_in_turns
from benchmarks.peers import versions
from benchmarks.rows import Key, Row, key_of

__all__ = ["Limits", "lacking", "measure", "run", "without_time"]

# Every row has all of these, null where they do not apply.
_KEYS = tuple(key for key in Row.__annotations__ if key in Row.__required_keys__)


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
    on_case: Callable[[Case, list[Row]], None] = lambda case, rows: None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[Row], list[Case]]:
    """Measure what is not ``done``; the rows, and the cases that the budget did not reach.

    With a budget the most telling cases come first, slow peers last of all, and none begins when it
    is spent; a case that is under way prepares no further peer then, and times no further round.
    """
    todo, began = list(cases), clock()
    if budget_s is not None:
        todo.sort(key=lambda case: case.rank)
        todo = [case.quickly for case in todo] + [case for case in todo if case.slow]
    rows: list[Row] = []
    for index, case in enumerate(todo):
        left = float("inf") if budget_s is None else budget_s - (clock() - began)
        if left <= 0:
            return rows, todo[index:]
        new = measure(
            case,
            write,
            limits=replace(limits, left_s=left),
            roofline=roofline,
            done=done,
            hlo=hlo,
            profile=profile,
            clock=clock,
        )
        if new:
            on_case(case, new)
        rows += new
        done |= frozenset(map(key_of, new))
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
    clock: Callable[[], float] = time.perf_counter,
) -> list[Row]:
    """The rows of a case that are not ``done``, each given to ``write`` as soon as it is known.

    Whatever an implementation raises becomes its row's reason: the others are measured all the
    same. Ours is timed in any case, for the others' ratios; where rows depend on each other all
    are measured again.
    """
    began = clock()
    rows = {name: _row(case, name, roofline) for name in case.implementations}
    rows |= {
        name: _row(case, name, roofline) | {"status": "ok", "published_ms": milliseconds}
        for name, milliseconds in case.published.items()
    }
    wanted = [name for name, row in rows.items() if key_of(row) not in done]
    if not wanted:
        return []
    if case.derive is not None:
        wanted = list(rows)
    ready: dict[str, Prepared] = {}
    failures: dict[str, BaseException] = {}
    waited = 0.0 if case.timed else _wait(limits, began, clock)
    begun = before = used()
    prepare, throttled = _opened(case), throttle_events()
    for name in case.implementations:
        if name not in wanted and name != case.ours:
            continue
        if name != case.ours and clock() - began > limits.left_s:
            wanted.remove(name)
            continue
        try:
            # Its check has also warmed it up.
            ready[name] = prepare(name)
        except Exception as error:
            # Without its frames, which hold arrays on the device.
            failures[name] = error.with_traceback(None)
            _fail(rows[name], error)
            rows[name]["load_average_after"] = load_average()
            if name in wanted:
                write(rows[name])
        else:
            if hlo is not None:
                _save_text(hlo, case, name, ready[name])
    failed_early = frozenset(failures)
    gc.collect()
    if profile is not None and case.ours in ready:
        with jax.profiler.trace(str(profile)):
            for _ in range(3):
                ready[case.ours].call()
    if case.timed and ready:
        waited = _wait(limits, began, clock)
        left = limits.left_s - (clock() - began)
        bounded = replace(limits, case_s=min(limits.case_s, max(left, 0.0)))
        for name in ready:
            rows[name]["case_budget_s"] = round(bounded.case_s, 1)
        before, ends = used(), clock() + bounded.case_s
        time_in_turns(case, rows, ready, failures, bounded)
    after, throttled_after = used(), throttle_events()
    busy = busy_share(before, after)
    if busy is None:  # turns too short to count: what was so since the case began tells most
        busy = busy_share(begun, after)
    if case.timed and ready and limits.energy:
        count(case, rows, ready, ends, clock)
    for name in wanted:
        row = rows[name]
        if name in ready:
            _describe(case, row, ready[name], roofline)
        elif name in failures:
            _fail(row, failures[name])
        row |= {"load_average_after": load_average(), "waited_s": waited, "busy_share": busy}
        if throttled is not None and throttled_after is not None:
            row["throttled"] = throttled_after > throttled
    if case.ours in rows:
        for name in wanted:
            if name != case.ours:
                compare_with(rows[case.ours], rows[name])
    if case.derive is not None:
        case.derive([rows[name] for name in case.implementations])
    for name in wanted:
        if name not in failed_early:
            write(rows[name])
    return [rows[name] for name in wanted]


def lacking(cases: Iterable[Case], done: frozenset[Key]) -> list[Case]:
    """What is left to measure of cases whose ``done`` rows a file has already."""
    left = (
        case.only(
            tuple(n for n in case.implementations if key_of(_row(case, n, None, {})) not in done)
        )
        for case in cases
    )
    return [case for case in left if case.implementations]


def without_time(
    case: Case, error: Exception, where: Mapping[str, Any], done: frozenset[Key]
) -> list[Row]:
    """The rows of a case whose process ended with ``error``; ``where`` was its `environment`."""
    rows = [_row(case, name, None, where) for name in case.implementations]
    for row in rows:
        _fail(row, error)
    return [row for row in rows if key_of(row) not in done]


def _wait(limits: Limits, began: float, clock: Callable[[], float]) -> float:
    """The seconds waited for a quiet machine, within what is left to the case."""
    return wait_until_quiet(min(limits.wait_s, limits.left_s - (clock() - began)))


def _opened(case: Case) -> Callable[[str], Prepared]:
    try:
        for name, value in case.environment.items():
            if not set(value.split()) <= set(os.environ.get(name, "").split()):
                raise Unavailable(f"it needs {name}={value}: `benchmarks accelerator` sets it")
        return case.open()
    except Exception as error:
        why = error.with_traceback(None)

    def fail(name: str) -> Prepared:
        raise why

    return fail


def _row(
    case: Case, name: str, roofline: Roofline | None, where: Mapping[str, Any] | None = None
) -> Row:
    row = {
        **dict.fromkeys(_KEYS),
        **case.facts,
        **case.own.get(name, {}),
        "group": case.group,
        "pass": case.pass_name,
        "implementation": name,
        "ms_of": case.of,
        "versions": versions(name),
        **_ceilings(roofline),
        **(environment() if where is None else where),
    }
    return cast(Row, row)


def _ceilings(roofline: Roofline | None) -> dict[str, float]:
    if roofline is None:
        return {}
    gemm, copy, _ = roofline
    return {"gemm_gflops_per_s": gemm, "copy_gb_per_s": copy}


def _describe(case: Case, row: Row, prepared: Prepared, roofline: Roofline | None) -> None:
    row |= {
        "status": "ok",
        "equations": prepared.equations,
        "steps_per_call": prepared.steps,
        "compile_s": prepared.compile_s,
        "temp_bytes": prepared.temp_bytes,
        "peak_bytes": prepared.peak_bytes,
    }
    if prepared.facts is not None:
        row.update(cast(Row, prepared.facts()))
    if not case.timed and prepared.text is not None:
        row["program_bytes"] = len(prepared.text())
    if case.cost is not None:
        row |= {"flops": case.cost.flops, "bytes": case.cost.bytes}
    median = row["median_ms"]
    if median is None:
        return
    if case.cost is not None:
        row["gflops_per_s"] = speed = case.cost.flops / median / 1e6
        # The ceiling is of the run's dtype.
        if roofline is not None and row["dtype"] == case.facts["dtype"]:
            row["ceiling_gflops_per_s"] = ceiling = roofline.bound(case.cost)
            row["fraction_of_ceiling"] = speed / ceiling
    if case.per_second is not None:
        what, amount = case.per_second
        row |= {"value": amount / median * 1e3, "unit": f"{what}/s"}
        if what == "tokens":
            row["tokens_per_s"] = row["value"]
    if case.latency:
        row["latency_ms_per_token"] = median


def _fail(row: Row, error: BaseException) -> None:
    if isinstance(error, ModuleNotFoundError):
        error = Unavailable(f"{error.name} is not installed")
    first = (str(error).splitlines() or [""])[0]
    row |= {"status": _status(error), "median_ms": None, "q25_ms": None, "q75_ms": None}
    if isinstance(error, Wrong):
        row.update(cast(Row, error.facts))
    known = isinstance(error, Unavailable | Wrong)
    row["reason"] = first if known else f"{type(error).__name__}: {first}"


def _status(error: BaseException) -> str:
    if isinstance(error, Unavailable):
        return "unavailable"
    if isinstance(error, Wrong):
        return "wrong"
    if isinstance(error, TimeoutError):
        return "out-of-time"
    message = f"{type(error).__name__} {error}".lower()
    full = ("resource_exhausted", "out of memory", "outofmemory", "memoryerror")
    return "out-of-memory" if any(word in message for word in full) else "failed"


def _save_text(folder: Path, case: Case, name: str, prepared: Prepared) -> None:
    if prepared.text is not None:
        folder.mkdir(parents=True, exist_ok=True)
        numbers = (case.facts["dtype"], case.facts["precision"])
        file = "-".join((*case.name.split("/"), *numbers, name)).replace(":", "_")
        (folder / f"{file}.txt").write_text(prepared.text(), encoding="utf-8")
