"""Serving: every way gives the oracle's tokens."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.groups import serving
from benchmarks.measuring.case import Options
from benchmarks.measuring.oracle import Wrong
from benchmarks.peers import serving_jax, serving_onnx

CASES = {case.name: case for case in serving.GROUP.cases(Options(quick=True))}


@pytest.mark.parametrize("name", CASES)
def test_every_way_gives_the_same(name: str) -> None:
    prepare = CASES[name].open()
    for implementation in CASES[name].implementations:
        if not implementation.startswith("torch"):
            prepared = prepare(implementation)  # which raises for what is wrong
            prepared.call()


def test_other_tokens_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = serving_jax.prepare

    def wrong(*arguments: Any) -> Any:
        prepared = right(*arguments)
        return replace(
            prepared, result=lambda: {"tokens": 1 - np.sign(prepared.result()["tokens"])}
        )

    monkeypatch.setattr(serving_jax, "prepare", wrong)
    token = next(case for case in CASES.values() if case.pass_name == "token")
    with pytest.raises(Wrong, match="wrong: "):
        token.open()("rnn_jax")


def test_onnx_runtime_is_tried_on_its_own_choice_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cores, threads in (({2, 5, 6}, (0, 3, 1)), ({4}, (0, 1))):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, own=cores: own, raising=False)
        assert serving_onnx._threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    assert serving_onnx._threads() == (0, 1)
