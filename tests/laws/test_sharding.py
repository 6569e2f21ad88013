"""Law 9: inside ``shard_map`` and on meshes of Explicit axes, results are those of one device."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.quick import ROOT, environment

PARTS = ("members", "carries", "mixed", "truncations", "models", "generation", "training")


@pytest.mark.parametrize(
    ("way", "part"),
    [*((way, part) for way in ("shard_map", "explicit") for part in PARTS), ("explicit", "eager")],
)
def test_values_and_gradients_on_two_devices_equal_those_on_one(way: str, part: str) -> None:
    # In a process of its own: how many devices there are is settled when JAX starts.
    settings = environment(2, JAX_ENABLE_X64="1")
    command = [sys.executable, "-m", "tests.laws.sharded", way, part]
    done = subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
