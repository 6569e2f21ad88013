"""XLA's options for loops: this jaxlib knows them, and unrolling reaches our loops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import rnn_jax
from benchmarks.groups.compiler import GROUP, UNROLL, WAYS, unrolled
from benchmarks.measuring.case import Options
from benchmarks.peers import OURS
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import noted
from tests.cases import QUICK

FLAGS = sorted({v["XLA_FLAGS"] for v in WAYS.values() if "XLA_FLAGS" in v})


def test_this_jaxlib_knows_every_flag() -> None:
    """One process for all: an unknown flag, or a value that it lacks, aborts it."""
    every = " ".join(FLAGS)
    done = subprocess.run(
        [sys.executable, "-c", "import jax; print(jax.devices())"],
        env=os.environ | {"XLA_FLAGS": every, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[:300]


def test_every_loop_that_is_traced_is_unrolled() -> None:
    layer = rnn_jax.recurrent(rnn_jax.elman(3))
    params = layer.init(jax.random.key(0), 2)

    def loss(params: object, xs: jax.Array) -> jax.Array:
        return layer.apply(params, None, xs)[1].sum()

    def products(times: int) -> int:
        jax.clear_caches()  # in place of a process of its own
        with unrolled(times):
            lowered = jax.jit(jax.grad(lambda p, x: loss(p, x))).lower(params, jnp.ones((8, 4, 2)))
        return (lowered.compile(compiler_options=QUICK).as_text() or "").count(" dot(")

    # Two loops, of which each has a product.
    assert products(4) - products(1) == 2 * 3
    assert jax.lax.scan.__module__.startswith("jax")


def test_each_way_has_a_case_of_its_own_and_a_line_beside_the_plain_one(tmp_path: Path) -> None:
    cases = GROUP.cases(Options(quick=True))
    passes = [case.pass_name for case in cases[: len(WAYS)]]
    assert passes == [f"forward+backward:{way}" for way in WAYS]
    assert {case.environment.get(UNROLL, "1") for case in cases} == {"1", "2", "4", "8", "16"}
    row = {**cases[0].facts, "group": GROUP.name, "implementation": OURS, "equations": "lstm"}
    rows: list[Any] = [
        row | {"pass": cases[0].pass_name, "median_ms": 2.4},
        row | {"pass": cases[1].pass_name, "median_ms": 1.2},
    ]
    text = "\n".join(GROUP.section(GROUP, noted(rows), Pictures(tmp_path)))
    assert "BENCHMARKS_UNROLL='4'" in text and "| 2.000" in text and "| 200.000" in text


@pytest.mark.parametrize("name", [n for n, v in WAYS.items() if v])
def test_a_way_is_named_for_what_it_changes(name: str) -> None:
    times = WAYS[name].get(UNROLL)
    assert times is None or f"unroll-{times}" in name
    assert ("XLA_FLAGS" in WAYS[name]) == ("buffer" in name)
