"""A process of its own: its answers, its errors, its memory and its end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.measuring.implementation import Unavailable
from benchmarks.measuring.memory import highest_resident, resident
from benchmarks.measuring.worker import Worker

HERE = "tests.benchmarks.measuring.test_worker:offered"
MEMORY = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts memory so")


def offered(name: str) -> dict[str, Callable[..., Any]]:
    """Runs in the process."""
    print("to nobody")  # must not stand among the answers
    if name == "no library":
        raise Unavailable("it has no such thing")

    def fill(size: int) -> int:
        full = np.ones(size // 8)
        time.sleep(0.1)
        return int(full.sum())

    class Local(Exception):
        """No other process knows it."""

    def fail() -> None:
        raise Local("inside")

    return {
        "name": lambda: name,
        "fill": fill,
        "environment": os.environ.get,
        "end": lambda: os._exit(3),
        "fail": fail,
    }


def test_it_answers_and_its_errors_are_raised_here() -> None:
    worker = Worker(HERE, "a", environment={"A_NAME": "a value"})
    assert worker.call("name") == "a"
    assert worker.call("environment", "A_NAME") == "a value"
    with pytest.raises(RuntimeError, match="Local: inside"):
        worker.call("fail")
    assert worker.call("name") == "a"
    with pytest.raises(RuntimeError, match="its process ended with 3"):
        worker.call("end")
    with pytest.raises(Unavailable, match="no such thing"):
        Worker(HERE, "no library")


@MEMORY
def test_the_memory_of_a_call_is_seen_and_ends_with_it() -> None:
    worker = Worker(HERE, "a")
    process = worker._process.pid
    assert worker.highest is None
    assert worker.before is not None and worker.before < (highest_resident(process) or 0) + 1
    assert worker.call("fill", 100_000_000, watch=True) == 12_500_000
    assert worker.highest is not None
    assert 0.9e8 < worker.highest - worker.before < 2e8
    worker.close()
    assert resident(process) is None and not Path(f"/proc/{process}").exists()
