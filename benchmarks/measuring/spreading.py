"""A data-parallel step, prepared on the devices that JAX sees, or on virtual ones of a CPU.

Those are settled when JAX starts: a step on another number of them runs in a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from benchmarks.measuring.case import Options
from benchmarks.measuring.compiled import all_reduces
from benchmarks.measuring.implementation import Prepared, Program, Unavailable, wait
from benchmarks.measuring.language import expected_step
from benchmarks.measuring.numbers import computing_in
from benchmarks.measuring.oracle import HALF, check, tolerance
from benchmarks.measuring.timing import seconds_of
from benchmarks.measuring.worker import Worker
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.data_parallel import spread

__all__ = ["in_a_process", "opened", "prepared"]

_VIRTUAL = "--xla_force_host_platform_device_count"
_TOLD = ("compile_s", "temp_bytes", "peak_bytes", "equations")  # by a process


def opened(workload: Language, count: int, options: Options) -> Callable[[str], Prepared]:
    """Prepares implementations on ``count`` devices, each compared with the oracle."""
    wanted: list[Arrays] = []

    def prepare(name: str) -> Prepared:
        if workload.dtype in HALF:
            opened(replace(workload, dtype="float32"), count, options)(name)
        if jax.default_backend() == "cpu":
            ready = _elsewhere(name, workload, count)
        elif count > jax.device_count():
            raise Unavailable(f"there are {jax.device_count()} devices, and {count} are needed")
        else:
            ready = prepared(name, workload, count)
        if not wanted:
            wanted.append(expected_step(workload, workload.arrays(), workload.tokens(1)[0]))
        allowance = tolerance(workload.dtype, workload.precision)
        check(ready.result(), wanted[0], "many-steps", allowance)
        return ready

    return prepare


def prepared(name: str, workload: Language, count: int) -> Prepared:
    """The step of an implementation on ``count`` of this process's devices."""
    step, state, batch, named = spread(name, workload, workload.arrays(), count)
    before = jax.tree.map(np.array, state.params)
    compiled: list[Any] = []
    compile_s = seconds_of(lambda: compiled.append(step.lower(state, batch).compile()))
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
    got = {"loss": np.asarray(metrics["loss"]), **named(moved)}
    ready = program.prepared(call, lambda: got, start, equations=workload.equations)
    return replace(ready, facts=lambda: _facts(compiled[0].as_text()))


def _facts(text: str) -> dict[str, Any]:
    """What the rows state about a program's all-reduces."""
    found = all_reduces(text)
    known = all(one.runs is not None for one in found)
    return {
        "all_reduces": len(found),
        "all_reduces_in_loops": sum(one.loops > 0 for one in found),
        "all_reduces_run": sum(one.runs or 0 for one in found) if known else None,
        "all_reduce_bytes": sum(one.bytes * (one.runs or 0) for one in found) if known else None,
    }


def _elsewhere(name: str, workload: Language, count: int) -> Prepared:
    """The step on virtual devices of a CPU, in a process that has so many."""
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if _VIRTUAL not in flag]
    environment = {"XLA_FLAGS": " ".join([*flags, f"{_VIRTUAL}={count}"]), "JAX_PLATFORMS": "cpu"}
    function = f"{__name__}:{in_a_process.__name__}"
    worker = Worker(function, name, workload, count, environment=environment)
    return Prepared(
        lambda: worker.call("call"),
        lambda: worker.call("result"),
        text=lambda: worker.call("text"),
        facts=lambda: worker.call("facts"),
        **worker.call("told"),
    )


_entered = ExitStack()  # of a process that computes for another one; it ends with the process


def in_a_process(name: str, workload: Language, count: int) -> dict[str, Callable[[], Any]]:
    """What a `Worker` offers of a prepared step."""
    _entered.enter_context(computing_in(workload.dtype, workload.precision))
    ready = prepared(name, workload, count)
    assert ready.facts is not None and ready.text is not None

    def call() -> None:
        ready.call()

    return {
        "call": call,
        "result": ready.result,
        "text": ready.text,
        "facts": ready.facts,
        "told": lambda: {key: getattr(ready, key) for key in _TOLD},
    }
