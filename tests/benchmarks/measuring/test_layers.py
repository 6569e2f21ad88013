"""The benchmarks against other libraries, without them: rows, checks, summaries, refusals."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import rnn_jax
from benchmarks.__main__ import main
from benchmarks.groups import compilation
from benchmarks.groups.recurrence import GRID
from benchmarks.measuring import layers, oracle, runner
from benchmarks.measuring.case import Options
from benchmarks.measuring.implementation import PASSES, JaxImplementation, Prepared, Unavailable
from benchmarks.measuring.timing import BLOCK, LEAST_ROUNDS, take_turns
from benchmarks.measuring.workloads import CELLS, Recurrence, recurrences
from benchmarks.peers import IMPLEMENTATIONS, OURS, build, ours
from benchmarks.reporting.summary import summarise

SMALL = {cell: Recurrence(cell, 2, 3, 4, 5) for cell in CELLS}


def small_rows(
    names: tuple[str, ...], pass_name: str = "forward", cell: str = "rnn"
) -> dict[str, dict[str, Any]]:
    case = layers.case("recurrence", SMALL[cell], pass_name, names=names)
    rows = runner.measure(case, lambda row: None, limits=runner.Limits(rounds=2, case_s=0))
    return {row["implementation"]: row for row in rows}


def test_the_grid_is_data_with_names() -> None:
    names = [workload.name for workload in recurrences(GRID[False])]
    assert len(set(names)) == len(GRID[False]) * len(CELLS)
    assert "lstm-32x35x256x28" in names
    arrays = SMALL["gru"].arrays()
    assert {name: array.shape for name, array in arrays.items()} == {
        "w_ih": (5, 12), "w_hh": (4, 12), "b": (12,), "b_hn": (4,), "xs": (3, 2, 5),
        "weights": (3, 2, 4),
    }  # fmt: skip
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("cell", CELLS)
def test_every_pass_of_ours_is_right(cell: str) -> None:
    arrays = SMALL[cell].arrays()
    implementation = ours.build(OURS, SMALL[cell], arrays)
    for pass_name in PASSES:
        prepared = implementation.prepare(pass_name)
        want = oracle.expected(implementation.equations, arrays, pass_name)
        assert {array.dtype for array in want.values()} == {np.dtype(np.float64)}
        oracle.check(prepared.result(), want, pass_name)
        assert prepared.compile_s is not None and prepared.compile_s > 0
        assert prepared.temp_bytes is not None


def test_the_other_equations_are_the_librarys_too() -> None:
    arrays = SMALL["gru"].arrays() | {"b_hn": np.zeros(4, np.float32)}
    before = rnn_jax.recurrent(rnn_jax.gru(4, reset="before"))
    params = {name: arrays[name] for name in ("w_ih", "w_hh", "b")}
    got = np.asarray(before.apply(params, None, jax.numpy.asarray(arrays["xs"]))[1])
    oracle.check({"ys": got}, oracle.expected("gru reset before", arrays, "forward"), "forward")
    with pytest.raises(oracle.Wrong, match="its ys is off by"):
        oracle.check({"ys": got}, oracle.expected("gru reset after", arrays, "forward"), "forward")


@pytest.mark.parametrize("pass_name", PASSES)
def test_a_wrong_implementation_is_not_timed(
    pass_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    @dataclasses.dataclass(frozen=True)
    class Counted:
        equations: str
        inner: JaxImplementation

        def prepare(self, name: str) -> Prepared:
            prepared = self.inner.prepare(name)
            return dataclasses.replace(prepared, call=lambda: called.append(name))

    def build(name: str, workload: Recurrence, arrays: Any) -> Counted:
        right = ours.build(name, workload, arrays)

        def apply(params: Any, xs: Any) -> Any:
            return 1.01 * right.apply(params, xs)

        return Counted(right.equations, dataclasses.replace(right, apply=apply))

    monkeypatch.setattr(layers, "build", build)
    row = small_rows((OURS,), pass_name)[OURS]
    assert row["reason"].startswith("wrong: its ")
    assert row["median_ms"] is None and called == []


def test_the_check_sees_what_is_missing_misshapen_or_no_number() -> None:
    want = {"ys": np.ones((2, 3))}
    oracle.check({"ys": np.ones((2, 3)) + 1e-6}, want, "forward")
    for got, sentence in (
        ({}, r"gives \[\]"),
        ({"ys": np.ones((3, 2))}, "has shape"),
        ({"ys": np.full((2, 3), np.nan)}, "off by nan"),
        ({"ys": np.ones((2, 3)) + 1e-4}, "off by 1.0e-04, more than 1.0e-05"),
    ):
        with pytest.raises(oracle.Wrong, match=sentence):
            oracle.check(got, want, "forward")


def test_a_missing_or_broken_peer_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch", "flax", "haiku", "keras"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("benchmarks.peers.equinox.build", _raise(RuntimeError("of its own\nline")))
    rows = small_rows(tuple(IMPLEMENTATIONS), "forward+backward")
    for name in (OURS, "numpy-vectorised", "numpy-loop"):
        assert rows.pop(name)["reason"] is None
    assert rows.pop("equinox")["reason"] == "RuntimeError: of its own"
    assert rows.pop("jax-cudnn")["reason"] == "cuDNN runs on NVIDIA GPUs alone"
    for row in rows.values():
        assert row["status"] == "unavailable"
        assert row["reason"].endswith("is not installed")
        assert row["median_ms"] is None and row["ratio"] is None


def test_what_a_peer_does_not_have_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.keras.build", _raise(Unavailable("no such cell")))
    assert small_rows(("keras",))["keras"]["reason"] == "no such cell"


def _raise(error: Exception) -> Any:
    def build(*_: Any) -> Any:
        raise error

    return build


def test_rows_hold_what_one_needs_to_judge_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.flax_linen.build", ours.build)
    rows = small_rows((OURS, "flax-linen"), "many-steps")
    for name, row in rows.items():
        assert (row["workload"], row["pass"], row["implementation"]) == (
            "rnn-2x3x4x5", "many-steps", name,
        )  # fmt: skip
        assert 0 < row["q25_ms"] <= row["median_ms"] <= row["q75_ms"]
        assert (row["B"], row["T"], row["H"], row["D"], row["dtype"]) == (2, 3, 4, 5, "float32")
        assert (row["calls"], row["steps_per_call"]) == (2 * BLOCK, 20)
        assert row["equations"] == "rnn tanh"
        assert row["compile_s"] > 0 and row["temp_bytes"] >= 0 and row["reason"] is None
        assert {"device", "date", "load_average", "xla_flags", "python"} <= set(row)
        assert "jax" in row["versions"]
        json.dumps(row)
    assert rows[OURS]["ratio"] is None
    assert rows["flax-linen"]["ratio"] == rows["flax-linen"]["median_ms"] / rows[OURS]["median_ms"]


def test_turns_end_at_the_rounds_or_the_budget_but_not_before_the_least() -> None:
    now, order = [0.0], []

    def call(name: str) -> Any:
        def lasting() -> None:
            order.append(name)
            now[0] += 1.0

        return lasting

    calls = {name: call(name) for name in "abc"}
    turn = BLOCK + 1  # the first call of a turn is not clocked
    for rounds, budget_s, done in ((2, 0, 2), (9, 0, LEAST_ROUNDS), (9, 13 * turn, 5), (4, 1e9, 4)):
        order.clear()
        seconds = take_turns(calls, rounds, budget_s, clock=lambda: now[0])
        assert seconds == {name: [1.0] * done * BLOCK for name in "abc"}
        assert all(len(set(order[i : i + turn])) == 1 for i in range(0, len(order), turn))
        turns = [tuple(order[i : i + 3 * turn : turn]) for i in range(0, len(order), 3 * turn)]
        assert all(sorted(names) == ["a", "b", "c"] for names in turns)
    assert len(set(turns)) > 1


def test_the_summary_has_mean_worst_and_losses() -> None:
    rows = [
        {"implementation": "peer", "pass": "forward", "workload": name, "ratio": ratio}
        for name, ratio in (("a", 4.0), ("b", 0.5), ("c", 4.0), ("missing", None))
    ]
    assert summarise(rows) == [
        {
            "implementation": "peer", "pass": "forward", "workloads": 3,
            "geometric_mean": pytest.approx(2.0), "worst": 0.5, "at": "b", "lost": 1,
        }
    ]  # fmt: skip
    assert summarise([]) == []


def test_a_quick_run_prints_and_saves_rows_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    command = ["recurrence", "--quick", "--cells", "rnn", "--implementations", OURS]
    command += ["--select", "4x12x32x16/forward", "--rounds", "1", "--out", str(file)]
    assert main(command) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["pass"] for row in rows] == ["forward", "forward+backward"]
    assert {row["reason"] for row in rows} == {None}
    printed = capsys.readouterr().out
    assert "rnn-4x12x32x16, forward+backward" in printed and "| rnn_jax " in printed
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "no" / "rows")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--cells", "rnn,qrnn"], "--cells must be of rnn, gru, lstm, not 'qrnn'"),
        (["--implementations", "jax"], "--implementations must be of rnn_jax, torch"),
        (["--select", "lstm-9"], "nothing is left to measure"),
        (["--implementations", "keras", "--select", "many-steps"], "nothing is left to measure"),
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["--budget", "-1"], "--budget must be at least 0"),
        (["--budget", "nan"], "--budget must be at least 0"),
    ],
)
def test_bad_options_are_a_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recurrence", *options]) == 2
    assert sentence in capsys.readouterr().err


def test_compile_time_and_memory_are_rows(capsys: pytest.CaptureFixture[str]) -> None:
    cases = compilation.GROUP.cases(Options(quick=True, cells=("rnn",)))
    rows = [
        row
        for case in cases
        for row in runner.measure(case, lambda row: None, limits=runner.Limits())
    ]
    assert [(row["pass"], row["T"], row["implementation"]) for row in rows] == [
        ("compile", 3, OURS),
        ("compile", 6, OURS),
        ("compile", 12, OURS),
        ("memory", 50, OURS),
        ("memory", 50, f"{OURS}-remat"),
    ]
    assert all(row["status"] == "ok" and row["compile_s"] > 0 for row in rows)
    assert rows[3]["temp_bytes"] > 0 and rows[0]["median_ms"] is None
    assert compilation.GROUP.closing is not None
    compilation.GROUP.closing(rows)
    assert "rnn-2x12x8x4 " in capsys.readouterr().out
    json.dumps(rows)


@pytest.mark.parametrize("cell", ["relu", "gru", "lstm"])
@pytest.mark.parametrize("name", ["numpy-vectorised", "numpy-loop"])
def test_numpys_derivatives_are_right(name: str, cell: str) -> None:
    workload = Recurrence(cell, 2, 3, 4, 5, dtype="float64")
    arrays = workload.arrays()
    implementation = build(name, workload, arrays)
    for pass_name in PASSES[:2]:
        want = oracle.expected(implementation.equations, arrays, pass_name)
        allowance = oracle.tolerance("float64", "highest")
        oracle.check(implementation.prepare(pass_name).result(), want, pass_name, allowance)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_is_ours_too(dtype: str) -> None:
    workload = Recurrence("lstm", 2, 3, 4, 5, dtype=dtype)
    case = layers.case("recurrence", workload, "forward+backward", names=(OURS, "numpy-loop"))
    rows = runner.measure(case, lambda row: None, limits=runner.Limits(rounds=1, case_s=0))
    assert [row["status"] for row in rows] == ["ok", "unavailable"]
    assert {row["dtype"] for row in rows} == {dtype}
    assert oracle.tolerance(dtype, "highest").relative > 100 * oracle.TOLERANCE


def test_two_biases_of_one_gate_take_steps_of_their_own() -> None:
    """Under weights so large that the second step sees what the first did to the biases."""
    arrays = SMALL["gru"].arrays()
    arrays["weights"] = arrays["weights"] * 100
    one, two = (oracle.expected(f"gru reset after{kind}", arrays, "many-steps")
                for kind in ("", ", two biases"))  # fmt: skip
    assert one.keys() == two.keys()
    assert max(np.abs(one[name] - two[name]).max() for name in one) > 1e-7


def test_half_a_training_step_is_held_to_the_oracle_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In bfloat16 an update of this size is rounded away: a step that does nothing looks right."""

    def build(name: str, workload: Recurrence, arrays: Any) -> JaxImplementation:
        right = ours.build(name, workload, arrays)

        def apply(params: Any, xs: Any) -> Any:
            return right.apply(jax.lax.stop_gradient(params), xs)

        return dataclasses.replace(right, apply=apply)

    workload = Recurrence("lstm", 2, 3, 4, 5, dtype="bfloat16")
    case = layers.case("recurrence", workload, "many-steps", names=(OURS,))
    limits = runner.Limits(rounds=1, case_s=0)
    (row,) = runner.measure(case, lambda row: None, limits=limits)
    assert row["status"] == "ok"
    monkeypatch.setattr(layers, "build", build)
    (row,) = runner.measure(case, lambda row: None, limits=limits)
    assert row["status"] == "wrong"
