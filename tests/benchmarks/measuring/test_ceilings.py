"""The ceilings: their kernels, what is made of their rows, and what is held against them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.groups import GROUPS
from benchmarks.measuring import ceilings, runner
from benchmarks.measuring.case import Options
from benchmarks.measuring.ceilings import PRODUCT, UPDATE, Ceiling
from benchmarks.measuring.flops import Cost
from benchmarks.measuring.implementation import Unavailable
from benchmarks.measuring.roofline import Roofline
from benchmarks.reporting.summary import noted

(GROUP,) = (group for group in GROUPS.values() if group.roofline is not None)
FEW = runner.Limits(rounds=1, case_s=0)


def test_a_call_repeats_its_step_in_the_memory_of_the_one_before() -> None:
    call = ceilings._in_place(lambda x: x + 1, 3, jnp.zeros(8))
    before, after = call(), call()
    np.testing.assert_array_equal(after, np.full(8, 6.0))
    assert before.is_deleted()
    assert Ceiling(PRODUCT, 100).amount == 2e6 and Ceiling(UPDATE, 100).amount == 200
    assert Ceiling(UPDATE, 1000).repeats == 500 and Ceiling(PRODUCT, 1000).repeats == 1


@pytest.mark.parametrize("name", ["xla", "numpy"])
@pytest.mark.parametrize("kind", [PRODUCT, UPDATE])
def test_the_value_is_the_best_call(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ceiling = Ceiling(kind, 64 if kind == PRODUCT else 4096)
    assert ceilings.kernel(ceiling, name)() > 0
    times = iter([9.0, 2.0, 0.5, 1.0])
    monkeypatch.setattr(ceilings, "kernel", lambda ceiling, name: lambda: next(times))
    made = ceilings.prepared(ceiling, name)
    for _ in range(3):
        made.call()
    assert made.facts is not None
    facts = made.facts()
    assert facts["value"] == pytest.approx(ceiling.amount * ceiling.repeats / 0.5 / 1e9)
    assert facts["unit"] == ("GFLOP/s" if kind == PRODUCT else "GB/s")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="nothing binds a process here")
def test_one_core_is_one_core() -> None:
    process = ceilings._bound_process()
    seconds = process.call("run", Ceiling(UPDATE, 4096, one_core=True), "numpy")
    assert seconds > 0
    assert len(os.sched_getaffinity(process._process.pid)) == 1
    process.close()
    ceilings._bound_process.cache_clear()


def test_without_binding_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pytest.raises(Unavailable, match="does not bind a process to one core"):
        ceilings.prepared(Ceiling(UPDATE, 4096, one_core=True), "numpy")


def test_rows_make_a_roofline(tmp_path: Any) -> None:
    rows: list[Any] = []
    for case in GROUP.cases(Options(quick=True)):
        rows += runner.measure(case, lambda row: None, limits=FEW)
    assert [row["reason"] for row in rows if row["status"] != "ok"] == []
    found = GROUP.roofline(noted(rows)) if GROUP.roofline else None
    assert found is not None
    products = [row["value"] for row in rows if row["flops"]]
    updates = {row["bytes"] / 2: row["value"] for row in rows if row["bytes"]}
    assert found.gemm_gflops_per_s == max(products)
    assert [size for size, _ in found.by_size] == sorted(updates)
    assert found.copy_gb_per_s == found.by_size[-1][1]
    assert GROUP.roofline is not None and GROUP.roofline(noted(rows[:1])) is None


def test_both_passes_and_all_sizes_are_listed() -> None:
    cases = GROUP.cases(Options())
    assert {case.pass_name for case in cases} == {"whole device", "one core"}
    names = [case.workload for case in cases if case.pass_name == "one core"]
    assert names[0] == "update-64KiB" and "update-256MiB" in names and "product-4096" in names
    half = GROUP.cases(replace(Options(), dtype="bfloat16"))
    assert {c.implementations for c in half if "product" in c.workload} == {("xla",)}


def test_small_arrays_are_held_to_the_cache() -> None:
    roofline = Roofline(1000.0, 10.0, ((1e5, 80.0), (1e7, 30.0), (1e9, 10.0)))
    # A case is at least a third of its bytes; between sizes the smaller one's bandwidth holds.
    for size, bandwidth in ((1e4, 80.0), (2.9e5, 80.0), (3.1e7, 30.0), (2e9, 30.0), (4e9, 10.0)):
        assert roofline.bound(Cost(size, size)) == bandwidth
    assert roofline.bound(Cost(1e9, 1e3)) == 1000.0
