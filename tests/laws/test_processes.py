"""Law 8 over processes: `fit` in several of them is `fit` in one, and all of them agree."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("count", [2, 4])
def test_training_in_processes_is_training_in_one(count: int, tmp_path: Path) -> None:
    settings = {
        # Four of one device each, or two of two: in both, half of the rows are elsewhere.
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={4 // count} "
        "--xla_backend_optimization_level=0",  # there is far more to compile than to compute
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "PYTHONPATH": str(ROOT),
    }
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    parts = "all" if count == 2 else "some"
    command = [sys.executable, "-m", "tests.laws.processes", str(port), str(count), parts]
    processes = [
        subprocess.Popen(
            [*command, str(number), str(tmp_path)],
            cwd=ROOT,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(count)
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, "\n".join(said)
