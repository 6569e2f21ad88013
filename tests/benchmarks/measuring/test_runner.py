"""The benchmark suite: its timer, its runner, its rows and its command line; nothing is judged."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measuring import flops, runner, turns
from benchmarks.measuring.case import Case
from benchmarks.measuring.implementation import Prepared, Unavailable
from benchmarks.measuring.oracle import Wrong
from benchmarks.measuring.quiet import Used
from benchmarks.measuring.roofline import Roofline
from benchmarks.measuring.timing import BLOCK
from benchmarks.result_files import new_file, resumed_file
from benchmarks.rows import LEAST_PAIRS, key_of, number, unsteady
from tests.benchmarks.clock import Clock

LIMITS = runner.Limits(rounds=1, case_s=0)


def a_case(
    prepare: Callable[[str], Prepared], names: tuple[str, ...] = ("rnn_jax",), **options: Any
) -> Case:
    facts = {"workload": "w", "dtype": "float32", "precision": "highest", "B": 2}
    return Case("group", "pass", facts, names, lambda: prepare, **options)


def ready(name: str = "", **options: Any) -> Prepared:
    return Prepared(lambda: None, dict, **options)


def test_a_row_has_every_key_and_what_was_counted() -> None:
    case = a_case(
        lambda name: ready(steps=4, compile_s=2.0, start=lambda: None, equations="lstm"),
        ("rnn_jax", "peer"),
        cost=flops.Cost(6e9, 3e9),
        per_second=("tokens", 7.0),
        published={"published V100": 1.5},
    )
    saved: list[Any] = []
    rows: list[Any] = runner.measure(
        case, saved.append, limits=LIMITS, roofline=Roofline(100.0, 10.0)
    )
    assert saved == rows and [row["implementation"] for row in rows] == [
        "rnn_jax", "peer", "published V100",
    ]  # fmt: skip
    ours, peer, published = rows
    assert ours.keys() == peer.keys() == published.keys() | {"case_budget_s"}  # it had no rounds
    assert ours["status"] == "ok" and ours["ratio"] is None and ours["reason"] is None
    assert (ours["calls"], ours["steps_per_call"], ours["compile_s"]) == (BLOCK, 4, 2.0)
    assert ours["equations"] == "lstm"
    assert peer["ratio"] == peer["median_ms"] / ours["median_ms"]
    assert ours["gflops_per_s"] == pytest.approx(6e3 / ours["median_ms"])
    assert ours["ceiling_gflops_per_s"] == 20
    assert ours["fraction_of_ceiling"] == pytest.approx(ours["gflops_per_s"] / 20)
    assert ours["tokens_per_s"] == pytest.approx(7e3 / ours["median_ms"])
    assert ours["control_ms"] > 0 and ours["dispatch_ms"] >= 0
    assert (published["published_ms"], published["median_ms"]) == (1.5, None)
    assert {"device", "date", "load_average", "load_average_after", "throttled", "commit"} <= set(
        ours
    )
    json.dumps(rows)


def test_a_time_has_its_rounds_and_intervals() -> None:
    case = a_case(lambda name: ready(), ("rnn_jax", "peer"))
    limits = runner.Limits(rounds=LEAST_PAIRS, case_s=1e9, spread=0)
    ours, peer = runner.measure(case, lambda row: None, limits=limits)
    for row in (ours, peer):
        assert len(row["rounds_ms"] or []) == LEAST_PAIRS == len(row["control_rounds_ms"] or [])
        assert row["median_ms"] == statistics.median(row["rounds_ms"] or [])
        assert number(row, "low_ms") <= number(row, "median_ms") <= number(row, "high_ms")
    assert number(peer, "ratio_low") <= number(peer, "ratio") <= number(peer, "ratio_high")
    assert ours["ratio_low"] is None and ours["p95_ms"] is None and ours["waited_s"] == 0
    (few,) = runner.measure(a_case(lambda name: ready()), lambda row: None, limits=LIMITS)
    assert few["low_ms"] is None and unsteady(few)


def test_latencies_are_of_single_steps_where_each_is_waited_for() -> None:
    def prepare(name: str) -> Prepared:
        return ready(
            steps=4, laps=(lambda: [0.001, 0.002, 0.003, 0.004]) if name == "peer" else None
        )

    case = a_case(prepare, ("rnn_jax", "peer"), latency=True)
    rows = runner.measure(case, lambda row: None, limits=runner.Limits(rounds=6, case_s=1e9))
    ours, peer = rows
    assert ours["latencies"] == ours["calls"] == 30 and number(ours, "p95_ms") > 0
    assert ours["p99_ms"] is None  # of thirty calls none is the hundredth
    assert peer["latencies"] == 30 * 4
    assert (peer["p95_ms"], peer["p99_ms"]) == (4.0, 4.0)


def test_a_case_waits_for_a_quiet_machine_before_it_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[Any] = []

    def wait(limit_s: float) -> float:
        order.append(limit_s)
        return 2.5

    def prepare(name: str) -> Prepared:
        order.append(name)
        return ready()

    monkeypatch.setattr(runner, "wait_until_quiet", wait)
    limits = replace(LIMITS, wait_s=30.0)
    (row,) = runner.measure(a_case(prepare), lambda row: None, limits=limits)
    assert order == ["rnn_jax", 30.0] and row["waited_s"] == 2.5
    order.clear()
    (row,) = runner.measure(a_case(prepare, timed=False), lambda row: None, limits=limits)
    assert order == [30.0, "rnn_jax"] and row["waited_s"] == 2.5
    order.clear()
    # No longer than what is left of the whole run.
    runner.measure(a_case(prepare), lambda row: None, limits=replace(limits, left_s=5.0))
    assert order[0] == "rnn_jax" and order[1] <= 5.0


def test_of_turns_too_short_to_count_the_whole_case_says_how_busy_others_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All cores' time, ours, how many, and when: half of two cores was others' over ten seconds.
    looks = [Used(0.0, 0.0, 2, 0.0), Used(18.0, 8.0, 2, 10.0), Used(18.1, 8.0, 2, 10.05)]
    monkeypatch.setattr(runner, "used", lambda: looks.pop(0))
    (row,) = runner.measure(a_case(ready), lambda row: None, limits=replace(LIMITS, energy=False))
    assert row["busy_share"] == pytest.approx(10.1 / 10.05 / 2) and not looks


@pytest.mark.parametrize(
    "error, status, reason",
    [
        (Unavailable("not here"), "unavailable", "not here"),
        (Wrong("wrong: its ys"), "wrong", "wrong: its ys"),
        (RuntimeError("of its own\nline"), "failed", "RuntimeError: of its own"),
        (MemoryError(), "out-of-memory", "MemoryError: "),
        (RuntimeError("RESOURCE_EXHAUSTED: 9 GB"), "out-of-memory", "RuntimeError: RESOURCE_EXH"),
    ],
)
@pytest.mark.parametrize("when", ["prepare", "call"])
def test_a_failure_is_a_row_and_the_others_are_measured(
    error: Exception, status: str, reason: str, when: str
) -> None:
    def fail() -> None:
        raise error

    def prepare(name: str) -> Prepared:
        if name == "rnn_jax":
            return ready()
        if when == "prepare":
            fail()
        return replace(ready(), call=fail)

    rows: list[Any] = runner.measure(
        a_case(prepare, ("peer", "rnn_jax")), lambda row: None, limits=LIMITS
    )
    peer, ours = rows
    assert (peer["status"], peer["median_ms"], peer["ratio"]) == (status, None, None)
    assert peer["reason"].startswith(reason)
    assert ours["status"] == "ok" and ours["median_ms"] is not None


def test_a_failure_is_on_disk_before_the_next_is_built(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"

    def prepare(name: str) -> Prepared:
        if name == "first":
            raise Unavailable("not here")
        assert len(file.read_text().splitlines()) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.measure(a_case(prepare, ("first", "second")), new_file(str(file)), limits=LIMITS)
    assert json.loads(file.read_text())["reason"] == "not here"


def test_a_run_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    file, built = tmp_path / "rows.jsonl", []

    def prepare(name: str) -> Prepared:
        built.append(name)
        return ready()

    case = a_case(prepare, ("rnn_jax", "peer", "other"))
    runner.run([case.only(("peer",))], new_file(str(file)), limits=LIMITS)
    with file.open("a") as stream:
        stream.write('{"implementation": "torn')
    old, write = resumed_file(str(file))
    done = frozenset(map(key_of, old))
    rows: list[Any]
    rows, left = runner.run([case], write, limits=LIMITS, done=done)
    assert built == ["peer", "rnn_jax", "other"] and left == []
    saved = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["implementation"] for row in saved] == ["peer", "rnn_jax", "other"]
    assert rows == saved[1:]
    # Complete: ours is not even built for another's ratio.
    done = frozenset(map(key_of, saved))
    assert runner.run([case], write, limits=LIMITS, done=done) == ([], [])
    assert len(built) == 3
    # A peer that is added later is timed beside ours, whose row stays what it was.
    wider = case.only((*case.implementations, "late"))
    rows, _ = runner.run([wider], write, limits=LIMITS, done=done)
    assert [row["implementation"] for row in rows] == ["late"] and number(rows[0], "ratio") > 0


def test_a_budget_takes_the_most_telling_cases_first() -> None:
    clock, order = Clock(), []

    def case(name: str, rank: int) -> Case:
        def prepare(_: str) -> Prepared:
            order.append(name)
            clock.now += 10
            return ready()

        return replace(a_case(prepare, rank=rank), facts={"workload": name})

    cases = [case("late", 2), case("first", 0), case("middle", 1)]
    rows, left = runner.run(cases, lambda row: None, limits=LIMITS, budget_s=15, clock=clock)
    assert order == ["first", "middle"] == [row["workload"] for row in rows]
    assert [c.workload for c in left] == ["late"]
    order.clear()
    runner.run(cases, lambda row: None, limits=LIMITS, clock=clock)
    assert order == ["late", "first", "middle"]


def test_under_a_budget_slow_peers_come_last_and_none_is_prepared_after_it() -> None:
    clock, order = Clock(), []

    def prepare(name: str) -> Prepared:
        order.append(name)
        clock.now += 10
        return ready()

    def run(budget_s: float | None) -> tuple[list[Any], list[Case]]:
        order.clear()
        names = ("rnn_jax", "slow", "peer", "other")
        cases = [replace(a_case(prepare, names, slow=("slow",)), group=g) for g in "ab"]
        return runner.run(cases, lambda row: None, limits=LIMITS, budget_s=budget_s, clock=clock)

    run(None)
    assert order == ["rnn_jax", "slow", "peer", "other"] * 2
    rows, left = run(1e9)
    assert order == [*["rnn_jax", "peer", "other"] * 2, *["rnn_jax", "slow"] * 2]
    assert len(rows) == 8 and left == []
    assert all(row["ratio"] > 0 for row in rows if row["implementation"] == "slow")
    rows, left = run(15)
    assert order == ["rnn_jax", "peer"] == [row["implementation"] for row in rows]
    assert [case.group for case in left] == ["b", "a", "b"]


def test_what_fails_outside_a_call_costs_no_row() -> None:
    def broken() -> Any:
        raise RuntimeError("RESOURCE_EXHAUSTED")

    rows: list[Any] = runner.measure(
        replace(a_case(lambda name: ready(), ("rnn_jax", "peer")), open=broken),
        lambda row: None,
        limits=LIMITS,
    )
    assert [row["status"] for row in rows] == ["out-of-memory"] * 2
    (row,) = runner.measure(
        a_case(lambda name: ready(start=broken)), lambda row: None, limits=LIMITS
    )
    assert row["status"] == "ok" and row["median_ms"] is not None and row["dispatch_ms"] is None


def test_of_a_long_call_no_more_are_made_to_time_its_dispatch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "LONG_S", 0.0)
    (row,) = runner.measure(
        a_case(lambda name: ready(start=pytest.fail)), lambda row: None, limits=LIMITS
    )
    assert row["status"] == "ok" and row["median_ms"] is not None and row["dispatch_ms"] is None


def test_a_missing_library_is_named() -> None:
    def prepare(name: str) -> Prepared:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    (row,) = runner.measure(a_case(prepare), lambda row: None, limits=LIMITS)
    assert (row["status"], row["reason"]) == ("unavailable", "torch is not installed")


def test_rows_that_depend_on_each_other_are_measured_together() -> None:
    def derive(rows: list[Any]) -> None:
        for row in rows:
            row["of_peer"] = row["median_ms"] / rows[1]["median_ms"]

    case = a_case(lambda name: ready(), ("rnn_jax", "peer"), derive=derive)
    rows: list[Any] = runner.measure(case, lambda row: None, limits=LIMITS)
    done = frozenset([key_of(rows[1])])
    again: list[Any] = runner.measure(case, lambda row: None, limits=LIMITS, done=done)
    assert [row["of_peer"] is not None for row in again] == [True, True]
