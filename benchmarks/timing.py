"""The timer: interleaved rounds, medians and quartiles, and what one must know of the machine."""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import jax
import numpy as np

from rnn_jax.reference_step import interleaved

__all__ = ["BLOCK", "LEAST_ROUNDS", "environment", "first_call", "quartiles", "take_turns"]

LEAST_ROUNDS = 3
BLOCK = 3


def first_call(call: Callable[[], object]) -> float:
    """Seconds of a call that compiles."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def quartiles(seconds: Sequence[float], steps: int = 1) -> dict[str, float]:
    """Median and quartiles in milliseconds a step, of calls that take ``steps`` steps each."""
    q25, median, q75 = np.percentile(np.asarray(seconds) / steps * 1e3, [25, 50, 75])
    return {"median_ms": float(median), "q25_ms": float(q25), "q75_ms": float(q75)}


def take_turns(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    budget_s: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every call, `BLOCK` a round, until ``rounds`` are over or the budget is spent.

    At least `LEAST_ROUNDS`, if so many are asked for. The first call of a turn is not clocked:
    for a while after a call some libraries' threads spin in wait for the next one, which would be
    charged to the neighbour. For what is left of it the order is another one in every round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order, shuffle = list(calls), random.Random(0).shuffle
    began = clock()
    for done in range(rounds):
        if done >= LEAST_ROUNDS and clock() - began >= budget_s:
            break
        shuffle(order)
        for name in order:
            calls[name]()
            seconds[name] += interleaved({name: calls[name]}, BLOCK, clock=clock)[name]
    return seconds


def environment() -> dict[str, Any]:
    """What every row says of the machine and the libraries."""
    device, config = jax.devices()[0], cast(Any, jax.config)
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "matmul_precision": config.jax_default_matmul_precision,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
