"""The benchmark suite: its timer, its runner, its rows and its command line; nothing is judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.groups import GROUPS, reference
from benchmarks.groups.deepbench import DEEPBENCH, PUBLISHED
from benchmarks.measuring import flops, runner
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.control import control
from benchmarks.measuring.implementation import Prepared, Unavailable
from benchmarks.measuring.machine import throttle_events
from benchmarks.measuring.oracle import Wrong
from benchmarks.measuring.roofline import Roofline, measure_roofline
from benchmarks.measuring.timing import (
    BLOCK,
    LEAST_ROUNDS,
    LONG_S,
    dispatch_ms,
    quartiles,
    take_turns,
)
from benchmarks.measuring.workloads import Recurrence
from benchmarks.result_files import new_file, resumed_file
from benchmarks.rows import key_of
from rnn_jax.recipes.reference_step import (
    Stepper,
    Workload,
    compare_step_time,
    interleaved,
    steppers,
)

SMALL = Workload(vocab_size=30, hidden_size=4, length=6, window=2, sentences=3)
NAMES = {"numpy-loop", "numpy-loop-float32", "numpy-vectorised", "jax-call", "jax-scan", "floor"}
LIMITS = runner.Limits(rounds=1, case_s=0)


class Clock:
    """A clock that only calls move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def lasting(self, name: str, *seconds: float) -> Callable[[], None]:
        """A function that takes these seconds in turn, the last of them for ever."""
        left = list(seconds)

        def call() -> None:
            self.order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


# The timer.


def test_calls_take_turns_and_each_is_clocked_alone() -> None:
    clock = Clock()
    calls = {"short": clock.lasting("short", 0.25), "long": clock.lasting("long", 2.0)}
    assert interleaved(calls, 3, clock=clock) == {"short": [0.25] * 3, "long": [2.0] * 3}
    assert clock.order == ["short", "long"] * 3


def test_quartiles_are_milliseconds_a_step() -> None:
    row = quartiles([0.5, 0.1, 0.3, 0.2, 0.4], steps=10)
    assert row == pytest.approx({"median_ms": 30, "q25_ms": 20, "q75_ms": 40})


def test_a_turn_begins_with_a_call_that_is_not_clocked_unless_it_is_long() -> None:
    clock = Clock()
    calls = {"cold": clock.lasting("cold", 9 / 16, 0.25), "long": clock.lasting("long", 2 * LONG_S)}
    seconds = take_turns(calls, 1, 0, clock=clock)
    assert seconds == {"cold": [0.25] * BLOCK, "long": [2 * LONG_S]}


def test_turns_end_when_the_quartiles_are_near() -> None:
    turn = BLOCK + 1
    noisy = [0.25, 0.5] * turn * 2  # four rounds of noise, then none
    for spread, rounds in ((0.0, 20), (0.5, 10), (9.0, LEAST_ROUNDS)):
        clock = Clock()
        calls = {"noisy": clock.lasting("noisy", *noisy, 0.25), "calm": clock.lasting("calm", 0.25)}
        seconds = take_turns(calls, 20, 1e9, spread=spread, clock=clock)
        assert len(seconds["calm"]) == len(seconds["noisy"])
        if spread != 0.5:
            assert len(seconds["noisy"]) == rounds * BLOCK
        else:
            row = quartiles(seconds["noisy"])
            assert row["q75_ms"] - row["q25_ms"] < spread * row["median_ms"]
            assert LEAST_ROUNDS * BLOCK < len(seconds["noisy"]) < 20 * BLOCK


def test_dispatch_ends_when_the_call_returns() -> None:
    clock = Clock()
    waited: list[object] = []
    start = clock.lasting("", 0.5, 0.25)
    assert dispatch_ms(start, waited.append, 3, clock=clock) == pytest.approx(250)
    assert len(waited) == 3


# The runner.


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
    rows = runner.measure(case, saved.append, limits=LIMITS, roofline=Roofline(100.0, 10.0))
    assert saved == rows and [row["implementation"] for row in rows] == [
        "rnn_jax", "peer", "published V100",
    ]  # fmt: skip
    assert len({tuple(sorted(row)) for row in rows}) == 1
    ours, peer, published = rows
    assert ours["status"] == "ok" and ours["ratio"] is None and ours["reason"] is None
    assert (ours["calls"], ours["steps_per_call"], ours["compile_s"]) == (BLOCK, 4, 2.0)
    assert ours["equations"] == "lstm"
    assert peer["ratio"] == peer["median_ms"] / ours["median_ms"]
    assert ours["gflops_per_s"] == pytest.approx(6e3 / ours["median_ms"])
    assert ours["fraction_of_ceiling"] == pytest.approx(ours["gflops_per_s"] / 20)
    assert ours["tokens_per_s"] == pytest.approx(7e3 / ours["median_ms"])
    assert ours["control_ms"] > 0 and ours["dispatch_ms"] >= 0
    assert (published["published_ms"], published["median_ms"]) == (1.5, None)
    assert {"device", "date", "load_average", "load_average_after", "throttled", "commit"} <= set(
        ours
    )
    json.dumps(rows)


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

    rows = runner.measure(a_case(prepare, ("peer", "rnn_jax")), lambda row: None, limits=LIMITS)
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
    assert [row["implementation"] for row in rows] == ["late"] and rows[0]["ratio"] > 0


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

    rows = runner.measure(
        replace(a_case(lambda name: ready(), ("rnn_jax", "peer")), open=broken),
        lambda row: None,
        limits=LIMITS,
    )
    assert [row["status"] for row in rows] == ["out-of-memory"] * 2
    (row,) = runner.measure(
        a_case(lambda name: ready(start=broken)), lambda row: None, limits=LIMITS
    )
    assert row["status"] == "ok" and row["median_ms"] is not None and row["dispatch_ms"] is None


def test_a_missing_library_is_named() -> None:
    def prepare(name: str) -> Prepared:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    (row,) = runner.measure(a_case(prepare), lambda row: None, limits=LIMITS)
    assert (row["status"], row["reason"]) == ("unavailable", "torch is not installed")


def test_rows_that_depend_on_each_other_are_measured_together() -> None:
    def derive(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["of_peer"] = row["median_ms"] / rows[1]["median_ms"]

    case = a_case(lambda name: ready(), ("rnn_jax", "peer"), derive=derive)
    rows = runner.measure(case, lambda row: None, limits=LIMITS)
    done = frozenset([key_of(rows[1])])
    again = runner.measure(case, lambda row: None, limits=LIMITS, done=done)
    assert [row["of_peer"] is not None for row in again] == [True, True]


def test_the_ceilings_and_the_control_are_measured() -> None:
    roofline = measure_roofline("float32", quick=True)
    assert roofline.gemm_gflops_per_s > 0 and roofline.copy_gb_per_s > 0
    result: Any = control()()
    loss, gradients = result
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in gradients)
    assert throttle_events() is None or throttle_events() >= 0  # type: ignore[operator]


def test_operations_are_counted_as_on_paper() -> None:
    workload = Recurrence("lstm", 16, 3, 128, 64)
    forward = flops.recurrence(workload, "forward").flops
    assert forward == 2 * 3 * 16 * 4 * 128 * (128 + 64)
    assert flops.recurrence(workload, "forward+backward").flops == 3 * forward
    by_inputs = 2 * 3 * 16 * 4 * 128 * 64
    assert flops.recurrence(workload, "many-steps").flops == 3 * forward - by_inputs


# The reference step.


def reference_rows() -> dict[str, dict[str, Any]]:
    rows = runner.measure(reference.reference_case(SMALL), lambda row: None, limits=LIMITS)
    return {row["implementation"]: row for row in rows}


def test_the_implementations_do_the_same_work() -> None:
    reference.check(SMALL)


def test_a_wrong_implementation_is_not_timed() -> None:
    right = steppers(SMALL)["jax-scan"]
    wrong = Stepper(right.call, right.steps, lambda: tuple(1.001 * w for w in right.weights()))
    lazy = Stepper(lambda: None, right.steps, steppers(SMALL)["jax-scan"].weights)
    broken = Stepper(lambda: None, 1, lambda: tuple(np.full_like(w, np.nan) for w in SMALL.weights))
    for stepper in (wrong, lazy, broken):
        with pytest.raises(Wrong, match="candidate is wrong and will not be timed"):
            reference.check(SMALL, {"candidate": stepper})


def test_reference_rows_hold_what_one_needs_to_judge_them() -> None:
    rows = reference_rows()
    assert set(rows) == NAMES
    for name, row in rows.items():
        assert row["status"] == "ok", row["reason"]
        assert 0 < row["q25_ms"] <= row["median_ms"] <= row["q75_ms"]
        assert row["dtype"] == ("float64" if name == "numpy-loop" else "float32")
        assert (row["compile_s"] is not None) == (not name.startswith("numpy"))
        assert (row["V"], row["H"], row["T"], row["truncation"]) == (30, 4, 6, "sliding:2")
    loop = rows["numpy-loop"]
    assert rows["jax-scan"]["times_faster_than_loop"] == pytest.approx(loop["ratio"])


# The command line.


def test_a_quick_run_writes_and_prints_and_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    command = ["reference", "--quick", "--implementations", "floor,jax-call", "--rounds", "1"]
    assert main([*command, "--out", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["implementation"] for row in rows] == ["jax-call", "floor"]
    assert rows[0]["gemm_gflops_per_s"] > 0
    assert "| floor          | float32 | " in capsys.readouterr().out
    for name, sentence in ((file, "exists already"), (tmp_path / "no" / "x", "does not exist")):
        assert main([*command, "--out", str(name)]) == 2
        assert sentence in capsys.readouterr().err
    assert main([*command, "--resume", str(file)]) == 0
    assert "0 rows" in capsys.readouterr().out
    assert len(file.read_text().splitlines()) == 2
    file.write_text(json.dumps(rows[0] | {"device": "another"}) + "\n")
    assert main([*command, "--resume", str(file)]) == 2
    assert "was measured on another" in capsys.readouterr().err
    file.write_text("no row\n")
    assert main([*command, "--resume", str(file)]) == 2
    assert "line 1 is no row" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


def test_the_text_and_the_trace_are_files(tmp_path: Path) -> None:
    hlo, trace = tmp_path / "hlo", tmp_path / "trace"
    command = ["recurrence", "--quick", "--select", "lstm-1x20x16x8/forward+", "--rounds", "1"]
    command += ["--implementations", "rnn_jax,numpy-loop"]
    assert main([*command, "--hlo", str(hlo), "--profile", str(trace)]) == 0
    (text,) = hlo.iterdir()
    assert text.name == "recurrence-lstm-1x20x16x8-forward+backward-float32-highest-rnn_jax.txt"
    assert text.read_text().startswith("HloModule")
    assert list(trace.rglob("*.xplane.pb"))


@pytest.mark.parametrize("quick", [False, True])
def test_the_list_names_everything_once(quick: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", *(["--quick"] if quick else [])]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    names = ["/".join(cell.strip() for cell in line.split("|")[1:4]) for line in lines]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == set(GROUPS)
    cases = [case for group in GROUPS.values() for case in group.cases(Options(quick=quick))]
    assert names == [case.name for case in cases]


def test_all_of_deepbench_is_there_with_what_was_published() -> None:
    assert len(set(DEEPBENCH)) == len(DEEPBENCH) == 53
    assert set(PUBLISHED) <= set(DEEPBENCH)
    cases = {case.name: case for case in GROUPS["deepbench"].cases(Options())}
    assert cases["deepbench/lstm-64x25x512x1/forward"].published == {"published V100": 1.34}
    both = cases["deepbench/lstm-128x25x1024x1/forward+backward"].published
    assert both == pytest.approx({"published V100": 8.38, "published TITAN Xp": 9.76})


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["speed"], "GROUP must be of reference, recurrence"),
        (["--profile", "x"], "--profile traces one workload and pass"),
        (["--out", "x", "--resume", "y"], "give one of them"),
        (["--resume", "/no/such"], "--resume /no/such cannot be read"),
        (["--case-budget", "-1"], "--case-budget must be at least 0"),
    ],
)
def test_bad_options_are_a_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    assert sentence in capsys.readouterr().err


def test_the_comparison_says_both_times_and_their_ratio() -> None:
    said = compare_step_time(SMALL, rounds=1)
    loop, scan, ratio = (
        float(word)
        for line in said.splitlines()[1:3]
        for word in line.replace(",", "").split()
        if word.replace(".", "").isdigit()
    )
    assert ratio == pytest.approx(loop / scan, rel=0.2, abs=0.1)
