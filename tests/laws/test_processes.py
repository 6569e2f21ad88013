"""Law 8 over processes: `fit` in several of them is `fit` in one, and all of them agree."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.quick import ROOT, environment


@pytest.mark.parametrize("count", [2, 4])
def test_training_in_processes_is_training_in_one(count: int, tmp_path: Path) -> None:
    # Four of one device each, or two of two: in both, half of the rows are elsewhere.
    settings = environment(4 // count, JAX_ENABLE_X64="1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    parts = "all" if count == 2 else "some"
    command = [sys.executable, "-m", "tests.laws.processes", str(port), str(count), parts]
    processes = [
        subprocess.Popen(
            [*command, str(number), str(tmp_path)],
            cwd=ROOT,
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(count)
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, "\n".join(said)
