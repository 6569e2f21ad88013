"""Law 8, data parallelism under the compiler's sums, and the rows of steps on several devices."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jax
import pytest

from benchmarks.groups import devices
from benchmarks.measuring import runner, spreading
from benchmarks.measuring.case import Options
from benchmarks.measuring.workloads import Language
from benchmarks.peers.data_parallel import NAMES
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import noted
from benchmarks.rows import Row

SMALL = Language("test", "lstm", 7, 4, 4, 6, 3, 1, 0.5, 5.0)
LIMITS = runner.Limits(rounds=1, case_s=0)
PARAMETERS = 7 * 3 + 4 * 4 * (3 + 4 + 1) + (4 + 1) * 7


def measured(count: int, names: tuple[str, ...]) -> list[Row]:
    options = Options(quick=True)
    case = replace(
        devices.GROUP.cases(options)[0],
        facts=SMALL.facts() | {"devices": count},
        implementations=names,
        open=lambda: spreading.opened(SMALL, count, options),
    )
    return runner.measure(case, lambda row: None, limits=LIMITS)


def test_all_take_the_same_step_and_a_plain_scan_sums_in_each_step_of_its_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = measured(2, tuple(name for name in NAMES if name != "no-mesh"))
    rows += measured(1, ("no-mesh",))
    assert [(row["status"], row["reason"]) for row in rows] == [("ok", None)] * 4
    ours, *plain, alone = rows
    # The gradient, and the loss.
    assert ours["all_reduces"] == ours["all_reduces_run"] == 1
    assert ours["all_reduces_in_loops"] == 0
    assert ours["all_reduce_bytes"] == 4 * (PARAMETERS + 1)
    for row in plain:
        assert row["all_reduces_in_loops"] == 1
        # The gradient of the recurrent matrix stays in the loop, in each of its steps.
        recurrent = 4 * 4 * 4
        assert row["all_reduce_bytes"] == 4 * (
            PARAMETERS - recurrent + 1 + SMALL.length * recurrent
        )
    assert alone["all_reduces"] == 0
    assert devices.GROUP.closing is not None
    devices.GROUP.closing(rows)
    assert "A step on several devices" in capsys.readouterr().out
    heading, *_, lines = devices.GROUP.section(devices.GROUP, noted(rows), Pictures(tmp_path))
    assert heading == "## Devices" and "all_reduces_in_loops" in lines


def test_rows_of_an_older_run_have_a_section(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "group": "devices",
        "pass": "step",
        "workload": "w",
        "implementation": "rnn_jax",
    }
    row |= {"status": "ok", "median_ms": 1.0, "devices": 2, "T": 1}
    rows = noted([cast(Row, row)])
    section = devices.GROUP.section(devices.GROUP, rows, Pictures(tmp_path))
    assert "| w " in section[2]


def test_more_devices_than_there_are_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # a CPU is as many as are asked for
    (row,) = measured(64, ("rnn_jax",))
    assert row["status"] == "unavailable" and "64 are needed" in str(row["reason"])


LAW_8 = """
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import rnn_jax
from benchmarks.peers.data_parallel import data_parallel
assert jax.device_count() == 4
for cell in (rnn_jax.lstm(6), rnn_jax.gru(6)):
    layer = rnn_jax.recurrent(cell)
    model = rnn_jax.truncate(rnn_jax.language_model(9, layer, embedding_size=5), rnn_jax.chunked(3))
    optimizer = rnn_jax.sgd(0.5)
    params = jax.tree.map(lambda p: p.astype("float64"), model.init(jax.random.key(0)))
    step = rnn_jax.make_train_step(model, optimizer)
    tokens = jax.random.randint(jax.random.key(1), (8, 8), 0, 9)
    mask = rnn_jax.length_mask(jnp.array([7, 0, 1, 4, 7, 2, 7, 5]), 7)
    batch = rnn_jax.Batch(tokens[:-1], tokens[1:], mask)
    results = []
    for count in (1, 4):
        copy = jax.tree.map(lambda p: jnp.array(p, copy=True), params)
        state = rnn_jax.init_train_state(model, optimizer, copy, batch_shape=(8,))
        jitted, state, rows = data_parallel(step, state, batch, count)
        assert len(rows.inputs.sharding.device_set) == count
        for _ in range(3):
            state, metrics = jitted(state, rows)
        results.append(jax.tree.map(np.asarray, (state, metrics)))
    for one, four in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(four, one, rtol=1e-12, atol=1e-14)
"""


def test_law_8_a_data_parallel_step_on_n_devices_equals_the_step_on_one() -> None:
    flags = "--xla_force_host_platform_device_count=4"
    root = Path(__file__).parents[3]
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", LAW_8], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
