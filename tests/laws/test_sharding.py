"""Law 9: inside ``shard_map`` and on meshes of Explicit axes, results are those of one device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PARTS = ("members", "carries", "mixed", "truncations", "models", "generation", "training")


@pytest.mark.parametrize(
    ("way", "part"),
    [*((way, part) for way in ("shard_map", "explicit") for part in PARTS), ("explicit", "eager")],
)
def test_values_and_gradients_on_two_devices_equal_those_on_one(way: str, part: str) -> None:
    # In a process of its own: how many devices there are is settled when JAX starts.
    flags = "--xla_force_host_platform_device_count=2"
    root = Path(__file__).parents[2]
    settings = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    environment = os.environ | settings | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "tests.laws.sharded", way, part]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
