"""Processes that measure: whatever ends one is a row of what was measured, and no more."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import pytest

from benchmarks.measuring.case import Case
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.isolated import Isolated, Planned
from benchmarks.measuring.runner import Limits, measure

LIMITS = Limits(rounds=1, case_s=0.0)
EARLIER: dict[str, Any] = {"date": "2020-01-01T00:00:00+00:00", "load_average": -1.0}


def plan() -> list[Planned]:
    """Runs in the processes, too."""

    def prepare(name: str) -> Prepared:
        if name == "killed":
            os.kill(os.getpid(), 9)
        if name == "hanging":
            time.sleep(60)
        if name == "full":
            raise MemoryError("of the device")
        if name == "raising":
            raise KeyError("a peer")
        return Prepared(lambda: None, dict, facts=lambda: {"program_bytes": os.getpid()})

    def case(*names: str, **variables: str) -> Planned:
        facts = {"workload": "w", "dtype": "float32", "precision": "highest"}
        made = Case(
            "group", "pass", facts, names, lambda: prepare, timed=False, environment=variables
        )
        return Planned(made, "float32", "highest")

    return [
        case("one", "killed", "full", "raising", "other"),
        case("one"),
        case("hanging"),
        case("one", XLA_FLAGS="--xla_gpu_no_such_flag=1"),
        case("one", BENCHMARKS_UNROLL="4"),
    ]


@pytest.fixture(scope="module")
def processes() -> Any:
    found = Isolated(f"{__name__}:plan")
    yield found
    found.close()


def measured(processes: Isolated, index: int, **limits: float) -> dict[str, Any]:
    bounded = Limits(1, 0.0, left_s=limits.get("left_s", math.inf))
    return {
        row["implementation"]: row
        for row in processes.measure(index, plan()[index], bounded, frozenset())
    }


def test_a_process_that_is_killed_takes_no_other_implementation_with_it(
    processes: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert processes.where()["platform"] == "cpu"
    assert processes.where()["matmul_precision"] is None
    monkeypatch.setattr(processes, "_where", processes.where() | EARLIER)
    rows = measured(processes, 0)
    assert {name: row["status"] for name, row in rows.items()} == {
        "one": "ok", "killed": "failed", "full": "out-of-memory", "raising": "failed",
        "other": "ok",
    }  # fmt: skip
    assert rows["killed"]["reason"] == "RuntimeError: its process ended with -9"
    assert rows["killed"]["device"] == rows["one"]["device"]
    # Its facts are those of the case, not those of the run's start.
    assert rows["killed"]["matmul_precision"] == rows["one"]["matmul_precision"] == "highest"
    assert rows["killed"]["date"] >= rows["one"]["date"] > EARLIER["date"]
    assert rows["killed"]["load_average"] != EARLIER["load_average"]
    assert rows["raising"]["reason"] == "KeyError: 'a peer'"
    # A process is kept until it ends.
    assert rows["full"]["xla_flags"] == rows["one"]["xla_flags"]
    (again,) = measured(processes, 1).values()
    assert again["program_bytes"] == rows["other"]["program_bytes"] != os.getpid()


def test_what_takes_too_long_is_ended(processes: Isolated) -> None:
    (row,) = measured(processes, 2, left_s=1.0).values()
    assert row["status"] == "out-of-time" and "it was ended after 1 s, for" in row["reason"]


def test_variables_are_of_a_process_of_their_own(processes: Isolated) -> None:
    (row,) = measured(processes, 3).values()
    assert row["status"] == "failed"
    assert "Unknown flag in XLA_FLAGS: --xla_gpu_no_such_flag=1" in row["reason"]
    assert row["xla_flags"].endswith("--xla_gpu_no_such_flag=1")
    (row,) = measured(processes, 4).values()
    assert row["status"] == "ok"
    # Anywhere else such a case has no implementation.
    (row,) = measure(plan()[4].case, lambda row: None, limits=LIMITS)
    assert row["status"] == "unavailable"
    assert (row["reason"] or "").startswith("it needs BENCHMARKS_UNROLL=4: ")
