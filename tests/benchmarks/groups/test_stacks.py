"""Stacks: each arrangement agrees with the plain scan, and what does not is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.groups import stacks
from benchmarks.measuring.case import Options
from benchmarks.measuring.oracle import TOLERANCE, Wrong

CASES = {case.name: case for case in stacks.GROUP.cases(Options(quick=True))}


@pytest.mark.parametrize("name", CASES)
def test_each_arrangement_agrees_with_the_plain_scan(name: str) -> None:
    prepared = CASES[name].open()("rnn_jax")  # which raises where it does not
    prepared.call()
    assert all(np.isfinite(array).all() for array in stacks._results(prepared).values())


@pytest.mark.parametrize("library", ["torch", "flax-linen-optimized"])
@pytest.mark.parametrize("name", CASES)
def test_other_libraries_do(name: str, library: str) -> None:
    pytest.importorskip(library.partition("-")[0])
    prepare = CASES[name].open()
    ours, theirs = (stacks._results(prepare(by)) for by in ("rnn_jax", library))
    assert ours.keys() == theirs.keys() != set()
    for key, array in ours.items():
        # Each is within the suite's tolerance of the oracle.
        allowed = 2 * TOLERANCE * np.abs(array).max()
        np.testing.assert_allclose(theirs[key], array, rtol=0, atol=allowed)


def test_another_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = stacks._ours

    def wrong(workload: Any, arrays: Any, params: Any, backend: Any = "auto") -> Any:
        made = right(workload, arrays, params, backend)
        if backend == "scan":
            return made
        return replace(made, apply=lambda params, xs: 1.01 * made.apply(params, xs))

    monkeypatch.setattr(stacks, "_ours", wrong)
    with pytest.raises(Wrong, match="wrong: its ys is off"):
        next(iter(CASES.values())).open()("rnn_jax")
