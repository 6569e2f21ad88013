"""What is planned for an accelerator: everything once, and without one at hand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.accelerator.plan import BFLOAT16, SINGLE, TF32, plan
from benchmarks.groups import ceilings, laws, recurrence
from benchmarks.measuring.isolated import Planned
from benchmarks.rows import key_of


def keys(planned: Planned) -> list[tuple[object, ...]]:
    case = planned.case
    facts = {**case.facts, "group": case.group, "pass": case.pass_name}
    return [
        key_of(facts | dict(case.own.get(name, {})) | {"implementation": name})
        for name in case.implementations
    ]


@pytest.mark.parametrize("dry", [False, True])
def test_nothing_is_planned_twice_but_ours_beside_slow_peers(dry: bool) -> None:
    every = [key for planned in plan(dry) for key in keys(planned)]
    again = {key for key in every if every.count(key) > 1}
    assert all(key[3] == "rnn_jax" for key in again)


def test_laws_come_first_and_every_part_has_something_soon() -> None:
    planned = plan(False)
    first = next(p for p in planned if p.case.group != ceilings.GROUP.name)
    assert first.case.group == laws.GROUP.name
    soon = {p.case.group for p in planned if p.case.rank <= 1}
    assert soon == {p.case.group for p in planned}
    numbers = {p[1:] for p in planned if p.case.group in (laws.GROUP.name, recurrence.GROUP.name)}
    assert {SINGLE, TF32, BFLOAT16} <= numbers


def test_planning_touches_no_device() -> None:
    code = "from benchmarks.accelerator.plan import plan; print(len(plan(False)))"
    environment = os.environ | {"JAX_PLATFORMS": "nowhere"}  # which any use of JAX would look for
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(plan(False))
