"""NumPy's hand-written derivatives."""

from __future__ import annotations

import pytest

from benchmarks.measuring import oracle
from benchmarks.measuring.implementation import PASSES
from benchmarks.measuring.workloads import Recurrence
from benchmarks.peers import build


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
