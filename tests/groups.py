"""The command `rnn-jax train` in several processes on this machine, for tests."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.quick import ROOT, environment

ALIKE = ("parameters.safetensors", "best.safetensors", "checkpoint.safetensors")


class Group:
    """Processes that train together.

    Args:
      work: a folder for what they print, and for what they compile, which the next ones need not.
      count: how many.
      arguments: of the command.
    """

    def __init__(self, work: Path, count: int, arguments: Sequence[str], wait: int = 120) -> None:
        self.work = work
        with socket.create_server(("127.0.0.1", 0)) as server:
            place = f"127.0.0.1:{server.getsockname()[1]}"
        settings = {
            "JAX_COMPILATION_CACHE_DIR": str(work / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "RNN_JAX_CACHE": str(work / "cache"),
            **environment(PYTHONUNBUFFERED="1"),
        }
        joining = ["--coordinator", place, "--num-processes", str(count)]
        joining += ["--join-timeout", str(wait)]
        self.processes = []
        for number in range(count):
            with (
                self._file(number, "out").open("w") as out,
                self._file(number, "err").open("w") as err,
            ):
                command = [sys.executable, "-m", "rnn_jax", "train", *arguments, *joining]
                command += ["--process-id", str(number)]
                self.processes.append(
                    subprocess.Popen(command, cwd=ROOT, env=settings, stdout=out, stderr=err)
                )

    def _file(self, number: int, name: str) -> Path:
        return self.work / f"process-{number}.{name}"

    def out(self, number: int) -> str:
        """What one of them has printed."""
        return self._file(number, "out").read_text()

    def err(self, number: int) -> str:
        """What one of them has printed on standard error."""
        return self._file(number, "err").read_text()

    def when(self, true: Callable[[], bool], seconds: float = 600, pause: float = 0.02) -> bool:
        """Wait until something is true; whether it became so before one of them ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if true():
                return True
            if any(process.poll() is not None for process in self.processes):
                return False
            time.sleep(pause)
        self.kill()
        raise AssertionError(f"it has not come to that: {self.err(0)}")

    def send(self, number: int, signum: int = signal.SIGKILL) -> float:
        """Send one of them a signal; the time of it."""
        self.processes[number].send_signal(signum)
        return time.monotonic()

    def ended(self, seconds: float = 600) -> list[tuple[int, float]]:
        """Wait for all; the exit code of each, and when it ended."""
        end = time.monotonic() + seconds
        found: dict[int, tuple[int, float]] = {}
        while len(found) < len(self.processes):
            for number, process in enumerate(self.processes):
                if number not in found and (code := process.poll()) is not None:
                    found[number] = code, time.monotonic()
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"{found} alone have ended: {self.err(0)} {self.err(1)}")
            time.sleep(0.005)
        return [found[number] for number in range(len(self.processes))]

    def done(self) -> None:
        """Wait until all are done, and well."""
        codes = [code for code, _ in self.ended()]
        assert not any(codes), [self.err(number) for number in range(len(codes))]

    def kill(self) -> None:
        """End all that are left."""
        for process in self.processes:
            process.kill()
            process.wait()


def left(folder: Path) -> dict[str, str]:
    """What a run leaves that must be the same in the same run."""
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ALIKE}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found["losses"] = str([(row["step"], row["train_loss"], row["loss"]) for row in rows])
    return found


def rows(folder: Path) -> int:
    """How many rows of metrics there are."""
    file = folder / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0
