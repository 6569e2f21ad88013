"""Law 8, data parallelism, and its rows."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.groups import devices
from benchmarks.measuring import runner
from benchmarks.measuring.case import Options
from benchmarks.measuring.workloads import Language

SMALL = Language("test", "gru", 7, 4, 2, 6, 3, 2, 0.5, 5.0)
LIMITS = runner.Limits(rounds=1, case_s=0)


def test_more_devices_than_there_are_is_a_row() -> None:
    case = devices.GROUP.cases(Options(quick=True))[-1]
    few = replace(case, open=lambda: lambda name: devices._prepare(SMALL, 64))
    (row,) = runner.measure(few, lambda row: None, limits=LIMITS)
    assert row["status"] == "unavailable" and "device_count=64" in str(row["reason"])


LAW_8 = """
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import rnn_jax
from benchmarks.groups.devices import data_parallel
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
