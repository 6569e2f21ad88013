"""The timer: interleaved rounds, medians and quartiles, and what one must know of the machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import jax
import numpy as np

__all__ = ["environment", "first_call", "quartiles"]


def first_call(call: Callable[[], object]) -> float:
    """Seconds of a call that compiles."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def quartiles(seconds: Sequence[float], steps: int = 1) -> dict[str, float]:
    """Median and quartiles in milliseconds a step, of calls that take ``steps`` steps each."""
    q25, median, q75 = np.percentile(np.asarray(seconds) / steps * 1e3, [25, 50, 75])
    return {"median_ms": float(median), "q25_ms": float(q25), "q75_ms": float(q75)}


def environment() -> dict[str, Any]:
    """What every row says of the machine and the libraries."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
