"""What one has to know about the machine to judge a row."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from benchmarks.measuring.nvidia import bus_ids
from benchmarks.measuring.system import system

__all__ = ["environment", "load_average", "now", "throttle_events"]


def environment() -> dict[str, Any]:
    """What every row states about the machine and the libraries, now."""
    device, config = jax.devices()[0], cast(Any, jax.config)
    return {
        "device": device.device_kind,
        "device_count": jax.device_count(),
        "platform": device.platform,
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
        "system": system(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "matmul_precision": config.jax_default_matmul_precision,
        "commit": _commit(),
        **now(),
        **_gpu(),
    }


def now() -> dict[str, Any]:
    """Of the facts of `environment` those that change from row to row."""
    return {
        "load_average": load_average(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def load_average() -> float | None:
    """Processes that ran or waited in the last minute; None where the system counts none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def throttle_events() -> int | None:
    """How often heat or a quota slowed the CPUs down; None where nothing counts it.

    A row was throttled if the number grew while it was measured.
    """
    counts = [
        int(text)
        for file in Path("/sys/devices/system/cpu").glob(
            "cpu*/thermal_throttle/core_throttle_count"
        )
        if (text := _read(file))
    ]
    words = (_read(Path("/sys/fs/cgroup/cpu.stat")) or "").split()
    if "nr_throttled" in words:
        counts.append(int(words[words.index("nr_throttled") + 1]))
    return sum(counts) if counts else None


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return None


@cache
def _processor() -> str | None:
    lines = (_read(Path("/proc/cpuinfo")) or "").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


@cache
def _gpu() -> dict[str, str]:
    """Driver, power limit and highest clock of JAX's first NVIDIA GPU, if it has one."""
    try:
        address = next(iter(bus_ids()), None)
    except OSError:
        address = None
    if address is None:
        return {}
    wanted = ("driver_version", "power.limit", "clocks.max.sm")
    output = _run(
        "nvidia-smi", f"--id={address}", f"--query-gpu={','.join(wanted)}", "--format=csv,noheader"
    )
    return {} if output is None else dict(zip(wanted, output.split(", "), strict=False))


@cache
def _commit() -> str | None:
    """The commit of the checkout that has this file, with "-dirty" where files were changed."""
    return _run("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _run(*command: str) -> str | None:
    """The output of a command; None where it is missing or fails."""
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
