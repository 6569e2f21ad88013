"""Energy by the counters of the machine: RAPL of Linux for CPUs, NVML for NVIDIA GPUs."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.measuring.case import Case
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.nvidia import bus_ids
from benchmarks.rows import Row

__all__ = ["Counter", "NoCounter", "count", "counter", "joules"]

_RAPL = Path("/sys/class/powercap")
_EACH_S = 1.0


class NoCounter(Exception):
    """Nothing counts energy here; the message is the reason."""


class Counter:
    """Joules since it was made, of all processors of a kind; wrapped counters are unwrapped.

    parts: functions that read joules, each with the value at which it starts again from 0.
    """

    def __init__(self, parts: list[tuple[Callable[[], float], float]]) -> None:
        """Read all parts once."""
        self._parts = parts
        self._last = [read() for read, _ in parts]
        self._sum = 0.0

    def read(self) -> float:
        """The joules; to be called at least once while a counter goes round, some minutes."""
        for i, (read, wraps) in enumerate(self._parts):
            now = read()
            step = now - self._last[i]
            self._sum += step if step >= 0 else step + wraps
            self._last[i] = now
        return self._sum


@cache
def counter(platform: str) -> Counter:
    """The counter of a platform of JAX.

    Raises:
      NoCounter: there is none, or this user may not read it.
    """
    if platform == "cpu":
        return rapl()
    if platform in ("gpu", "cuda"):
        return _nvml()
    raise NoCounter(f"nothing counts the energy of {platform} devices")


def rapl(folder: Path = _RAPL) -> Counter:
    """That of all CPU packages under ``folder``; DRAM and cores are parts of it or not counted.

    Raises:
      NoCounter: see `counter`.
    """
    # A zone is intel-rapl:0, and so on AMD; its parts are intel-rapl:0:0.
    zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    zones = [zone for zone in zones if _text(zone / "name").startswith("package")]
    if not zones:
        raise NoCounter("no RAPL: the kernel shows no energy counter of the CPUs")
    parts = []
    for zone in zones:
        energy = zone / "energy_uj"
        try:
            energy.read_text("ascii")
        except OSError as error:
            why = (error.strerror or "no reason given").lower()
            raise NoCounter(f"RAPL cannot be read ({why}): root may") from None
        wraps = int(_text(zone / "max_energy_range_uj") or 2**32) / 1e6
        parts.append((_reader(energy), wraps))
    return Counter(parts)


def _reader(file: Path) -> Callable[[], float]:
    return lambda: int(file.read_text("ascii")) / 1e6


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except OSError:
        return ""


def _millijoules(read: Callable[[Any], int], device: Any) -> Callable[[], float]:
    return lambda: read(device) / 1e3


def _nvml() -> Counter:
    """That of the GPUs that JAX has in this process; others of the machine are not ours."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        raise NoCounter("NVML cannot be asked: nvidia-ml-py is not installed") from None
    try:
        nvml.nvmlInit()
        devices = [nvml.nvmlDeviceGetHandleByPciBusId(address) for address in bus_ids()]
        read = nvml.nvmlDeviceGetTotalEnergyConsumption
        return Counter([(_millijoules(read, device), 2.0**64) for device in devices])
    except (nvml.NVMLError, OSError) as error:
        raise NoCounter(f"NVML counts no energy here ({error})") from None


def joules(
    call: Callable[[], object],
    counted: Counter,
    *,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Joules of a call, the mean of as many as ``seconds`` take; those of an idle machine are in.

    Example:
      >>> meter = iter([10.0, 10.0, 16.0])
      >>> ticks = iter([0.0, 1.0, 2.0, 3.0])
      >>> counted = Counter([(lambda: next(meter), 100.0)])
      >>> joules(lambda: None, counted, seconds=3.0, clock=lambda: next(ticks))
      2.0
    """
    calls, before, began = 0, counted.read(), clock()
    while not calls or clock() - began < seconds:
        call()
        calls += 1
    return (counted.read() - before) / calls


def count(
    case: Case,
    rows: Mapping[str, Row],
    ready: Mapping[str, Prepared],
    ends: float,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Give each row the joules of a step, or the reason why there are none.

    One implementation after the other, for a second each or its share of what is left until the
    clock shows ``ends``: a counter is of all cores, and steps every few milliseconds.
    """
    for index, (name, prepared) in enumerate(ready.items()):
        row = rows[name]
        try:
            counted = counter(row["platform"])
            left = ends - clock()
            if left <= 0 or left < _seconds(row, prepared):
                raise NoCounter("no time was left to count it")
            seconds = min(_EACH_S, left / (len(ready) - index))
            spent = joules(prepared.call, counted, seconds=seconds, clock=clock)
        except Exception as error:  # the times stand, whatever becomes of this
            row["energy_reason"] = str(error)
            continue
        row["joules_per_step"] = spent / prepared.steps
        if case.per_second is not None and case.per_second[0] == "tokens" and spent:
            row["tokens_per_joule"] = case.per_second[1] * prepared.steps / spent


def _seconds(row: Row, prepared: Prepared) -> float:
    """What one call takes, as far as it was timed."""
    return (row["median_ms"] or 0.0) * prepared.steps / 1e3
