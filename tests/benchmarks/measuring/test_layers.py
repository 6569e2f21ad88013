"""The benchmarks against other libraries, without them: rows, checks, summaries, refusals."""

from __future__ import annotations

import dataclasses
import json
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import rnn_jax
from benchmarks.groups.recurrence import GRID
from benchmarks.measuring import implementation, layers, oracle, runner
from benchmarks.measuring.implementation import (
    PASSES,
    TRIED,
    JaxImplementation,
    Prepared,
    Unavailable,
)
from benchmarks.measuring.timing import BLOCK
from benchmarks.measuring.workloads import CELLS, Recurrence, recurrences
from benchmarks.peers import IMPLEMENTATIONS, OURS, build, ours

SMALL = {cell: Recurrence(cell, 2, 3, 4, 5) for cell in CELLS}


def small_rows(
    names: tuple[str, ...], pass_name: str = "forward", cell: str = "rnn"
) -> dict[str, dict[str, Any]]:
    case = layers.case("recurrence", SMALL[cell], pass_name, names=names)
    rows: list[Any] = runner.measure(
        case, lambda row: None, limits=runner.Limits(rounds=2, case_s=0)
    )
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


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("name", [name for name in IMPLEMENTATIONS if name != OURS])
def test_every_library_is_right_in_bfloat16(name: str, cell: str) -> None:
    workload = dataclasses.replace(SMALL[cell], dtype="bfloat16")
    case = layers.case("recurrence", workload, "forward+backward", names=(name,))
    try:
        with jax.numpy_rank_promotion("allow"):  # by which Keras adds its biases
            case.open()(name)  # which compares with the oracle, and raises
    except Unavailable as error:
        pytest.skip(str(error))
    except ImportError:
        pytest.skip(f"{name} is not installed")


def test_the_other_equations_are_the_librarys_too() -> None:
    arrays = SMALL["gru"].arrays() | {"b_hn": np.zeros(4, np.float32)}
    before = rnn_jax.recurrent(rnn_jax.gru(4, reset="before"))
    params = {name: arrays[name] for name in ("w_ih", "w_hh", "b")}
    got = np.asarray(before.apply(params, None, jax.numpy.asarray(arrays["xs"]))[1])
    oracle.check({"ys": got}, oracle.expected("gru reset before", arrays, "forward"), "forward")
    with pytest.raises(oracle.Wrong, match="its ys is off by"):
        oracle.check({"ys": got}, oracle.expected("gru reset after", arrays, "forward"), "forward")


def test_rounding_may_take_an_argument_across_the_kink_of_a_relu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload, pass_name = Recurrence("relu", 2, 3, 4, 5), "forward+backward"
    arrays = workload.arrays()
    first = arrays["xs"][0, 0].astype(float) @ arrays["w_ih"][:, 0].astype(float)
    arrays["b"][0] = -first  # an argument of about 1e-8, on either side of 0
    want = oracle.expected("rnn relu", arrays, pass_name)
    slack = oracle.at_kinks("rnn relu", arrays, pass_name, oracle.Tolerance())
    shifted = [
        oracle.expected("rnn relu", arrays | {"b": arrays["b"] + off}, pass_name)
        for off in np.array([[3e-7, 0, 0, 0], [-3e-7, 0, 0, 0]], np.float32)
    ]
    refused = []
    for got in shifted:
        oracle.check(got, want, pass_name, slack=slack)
        try:
            oracle.check(got, want, pass_name)
        except oracle.Wrong:
            refused.append(got)
    (crossed,) = refused
    wrong = crossed | {"w_hh": 1.5 * crossed["w_hh"]}
    with pytest.raises(oracle.Wrong, match="its w_hh is off"):
        oracle.check(wrong, want, pass_name, slack=slack)

    given = [crossed, wrong]
    fake = SimpleNamespace(result=lambda: given.pop(0))
    build = SimpleNamespace(equations="rnn relu", prepare=lambda pass_name: fake)
    monkeypatch.setattr(layers, "build", lambda *args: build)
    monkeypatch.setattr(Recurrence, "arrays", lambda self: arrays)
    prepare = layers.case("deepbench", workload, pass_name, names=(OURS,)).open()
    prepare(OURS)
    with pytest.raises(oracle.Wrong, match="its w_hh is off"):
        prepare(OURS)


def test_no_slack_is_given_where_no_argument_is_near_a_kink() -> None:
    workload, allowance = Recurrence("relu", 2, 3, 4, 5), oracle.Tolerance()
    far = oracle.at_kinks("rnn relu", workload.arrays(), "forward+backward", allowance)
    assert far and all(off == 0.0 for off in far.values())
    lstm = SMALL["lstm"].arrays()
    assert oracle.at_kinks("lstm", lstm, "forward+backward", allowance) == {}


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
        ({"ys": np.ones((2, 3)) + 1e-4}, "off by 1.0e-04 at an element, 1.0e-05 is allowed"),
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


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_is_ours_too(dtype: str) -> None:
    workload = Recurrence("lstm", 2, 3, 4, 5, dtype=dtype)
    case = layers.case("recurrence", workload, "forward+backward", names=(OURS, "numpy-loop"))
    rows: list[Any] = runner.measure(
        case, lambda row: None, limits=runner.Limits(rounds=1, case_s=0)
    )
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


@pytest.mark.parametrize("length", [TRIED, TRIED + 1])
def test_forms_are_tried_on_the_first_steps_and_the_best_takes_all(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(implementation, "fastest", lambda calls: max(calls))
    workload = Recurrence("rnn", 1, length, 4, 2)
    arrays = workload.arrays()
    layer = build(OURS, workload, arrays)
    assert isinstance(layer, JaxImplementation)
    traced: list[tuple[int, int]] = []

    def form(steps: int, params: Any, xs: jax.Array) -> jax.Array:
        traced.append((steps, len(xs)))
        return layer.apply(params, xs)

    forms = dataclasses.replace(layer, apply=partial(form, 1), unrolled={4: partial(form, 4)})
    prepared = forms.prepare("forward+backward")
    assert prepared.result()["xs"].shape == arrays["xs"].shape
    assert traced == [(1, TRIED), (4, TRIED), (4, length)][: 2 + (length > TRIED)]
    assert prepared.facts is not None and prepared.facts() == {"unroll": 4}
