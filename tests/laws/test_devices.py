"""Law 8: a training step on n devices is the step on one, noise included; and so is `fit`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.quick import ROOT, environment

PARTS = (
    "table", "noise", "losses", "tables", "single", "skipped", "compiled", "fits", "errors",
)  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_training_on_eight_devices_is_training_on_one(part: str) -> None:
    # In a process of its own: how many devices there are is settled when JAX starts.
    settings = environment(8, JAX_ENABLE_X64="0" if part == "single" else "1")
    command = [sys.executable, "-m", "tests.laws.spread", part]
    done = subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
