"""A data-parallel training step on 1, 2, 4 … devices, the batch as a whole staying the same.

A CPU is several devices with ``XLA_FLAGS=--xla_force_host_platform_device_count=4``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import rnn_jax
from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import flops
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import Prepared, Program, Unavailable, wait
from benchmarks.measuring.language import expected_step
from benchmarks.measuring.oracle import HALF, check, tolerance
from benchmarks.measuring.timing import first_call
from benchmarks.measuring.workloads import Language
from benchmarks.peers import OURS
from benchmarks.peers.language_ours import to_workload, train_step
from benchmarks.reporting.sections import PLAIN_COLUMNS, plain

__all__ = ["GROUP", "data_parallel"]

_COUNTS = (1, 2, 4, 8)


def _cases(options: Options) -> list[Case]:
    """One stack of LSTMs, on at least 1 and 2 devices; a machine with one has no time for 2."""
    stack = Language("stack", "lstm", 10_000, 512, 64, 35, 512, 2, 1.0, 5.0)
    if options.quick:
        stack = replace(stack, vocab=300, hidden=32, embedding=32, batch=8, length=8)
    workload = replace(stack, dtype=options.dtype, precision=options.precision)
    return [
        Case(
            GROUP.name,
            "step",
            workload.facts() | {"workload": f"{workload.name}-on-{count}", "devices": count},
            (OURS,),
            lambda count=count: lambda name: _prepare(workload, count),  # type: ignore[misc]
            cost=flops.language_step(workload),
            rank=2,
            per_second=("tokens", workload.length * workload.batch),
        )
        for count in _COUNTS
        if count <= max(2, jax.device_count())
    ]


def data_parallel(step: Any, state: Any, batch: rnn_jax.Batch, count: int) -> tuple[Any, Any, Any]:
    """The jitted step, the state on all of ``count`` devices and the batch's rows spread over them.

    The step is the one for a single device: the compiler adds the sum over devices.
    """
    mesh = Mesh(np.array(jax.devices()[:count]), ("data",))
    spec: Any = PartitionSpec  # it has no annotations
    everywhere, rows = NamedSharding(mesh, spec()), NamedSharding(mesh, spec(None, "data"))
    jitted = jax.jit(step, donate_argnums=0, out_shardings=everywhere)
    return jitted, jax.device_put(state, everywhere), jax.device_put(batch, rows)


def _prepare(workload: Language, count: int) -> Prepared:
    if count > jax.device_count():
        raise Unavailable(
            f"there is one device; a CPU is {count} with "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={count}"
        )
    if workload.dtype in HALF:
        _prepare(replace(workload, dtype="float32"), count)
    arrays, tokens = workload.arrays(), workload.tokens(1)[0]
    single, step = train_step(workload, arrays)
    before = jax.tree.map(np.array, single.params)
    jitted, state, batch = data_parallel(
        step, single, rnn_jax.Batch(jnp.asarray(tokens[:-1]), jnp.asarray(tokens[1:])), count
    )
    compiled: list[Any] = []
    compile_s = first_call(lambda: compiled.append(jitted.lower(state, batch).compile()))
    program = Program(compiled[0], compile_s)

    def start() -> Any:
        nonlocal state
        state, metrics = program.run(state, batch)
        return metrics

    def call() -> Any:
        metrics = start()
        return wait((state, metrics))

    metrics = start()
    moved = jax.tree.map(
        lambda a, b: np.asarray(a, np.float64) - np.asarray(b, np.float64), state.params, before
    )
    got = {"loss": np.asarray(metrics["loss"]), **to_workload(workload, moved)}
    allowance = tolerance(workload.dtype, workload.precision)
    check(got, expected_step(workload, arrays, tokens), "many-steps", allowance)
    return program.prepared(call, lambda: got, start, equations=workload.equations)


GROUP = Group(
    "devices",
    _cases,
    COLUMNS,
    "A data-parallel step over the devices of one machine.",
    plain((*PLAIN_COLUMNS, "devices")),
)
