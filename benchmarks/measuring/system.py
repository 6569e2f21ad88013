"""The machine below the libraries: processor, caches, memory, limits, threads, and the BLAS.

All of it is read from files that Linux keeps, and is None where there are none.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks import VARIABLES

__all__ = ["blas", "chosen_by_hand", "described", "limits", "system"]

# Variables that set a library's threads or choose its kernels begin so.
_VARIABLES = ("OMP_", "OPENBLAS_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_CPU_", "NPY_")
# Of the flags those that decide which kernels a library takes.
_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "hypervisor", "asimd", "sve")


@cache
def system(root: Path = Path("/")) -> dict[str, Any]:
    """What every row states about it.

    Args:
      root: the folder that has ``proc`` and ``sys``.
    """
    text = _read(root / "proc/cpuinfo") or ""
    cpu = dict(re.findall(r"^([^\t:]+)\t*: (.*)$", text.split("\n\n")[0], re.MULTILINE))
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq"
    most = _read(frequency / "cpuinfo_max_freq")
    kib = re.search(r"MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo") or "")
    usable = getattr(os, "sched_getaffinity", None)
    release = _read(root / "etc/os-release") or ""
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', release, re.MULTILINE)
    return {
        "vendor": cpu.get("vendor_id"),
        "family": cpu.get("cpu family"),
        "model": cpu.get("model"),
        "stepping": cpu.get("stepping"),
        "microcode": cpu.get("microcode"),
        "flags": [flag for flag in _FLAGS if flag in cpu.get("flags", "").split()],
        "mhz": float(cpu["cpu MHz"]) if "cpu MHz" in cpu else None,
        "mhz_most": int(most) / 1000 if most else None,
        "governor": _read(frequency / "scaling_governor"),
        "caches": _caches(root / "sys/devices/system/cpu/cpu0/cache"),
        "sockets": len(set(re.findall(r"^physical id\t*: (\d+)", text, re.MULTILINE))) or None,
        "threads_a_core": _threads_a_core(cpu),
        "usable": len(usable(0)) if usable is not None else None,
        "memory_bytes": int(kib[1]) * 1024 if kib else None,
        "limits": limits(root),
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "os": name[1] if name else None,
        "blas": blas(),
        "threads": _variables(),
    }


def chosen_by_hand() -> str:
    """What variables set of a library's threads or kernels, beside our own; "" for nothing."""
    found = _variables().items() - VARIABLES.items()
    return ", ".join(f"{name}={value}" for name, value in sorted(found))


def _variables() -> dict[str, str]:
    return {n: v for n, v in sorted(os.environ.items()) if n.startswith(_VARIABLES)}


def described(found: dict[str, Any]) -> list[str]:
    """The facts of `system` in a few lines; what is not known is said to be so.

    Example:
      >>> described({"family": "25", "model": "17", "stepping": "1", "memory_bytes": 2**34})[0]
      'family 25, model 17, stepping 1; clock not known; governor not known'
    """

    def known(key: str, unit: str = "", name: str = "") -> str:
        value = found.get(key)
        return f"{name or key} not known" if value in (None, [], {}) else f"{name} {value}{unit}"

    kind = ", ".join(f"{key} {found.get(key)}" for key in ("family", "model", "stepping"))
    clock = known("mhz_most", " MHz at most", "clock") if found.get("mhz_most") else ""
    clock = clock or (f"clock {found['mhz']:.0f} MHz" if found.get("mhz") else "clock not known")
    flags = f"; {', '.join(found['flags'])}" if found.get("flags") else ""
    memory = found.get("memory_bytes")
    threads = ", ".join(f"{name} {value}" for name, value in (found.get("threads") or {}).items())
    cores = [
        f"{found.get('usable') or 'an unknown number of'} cores usable",
        known("threads_a_core", "", "threads a core"),
        f"{memory / 2**30:.1f} GiB memory" if memory else "memory not known",
        f"limits: {found.get('limits') or 'none'}",
        f"variables of threads and kernels: {threads or 'none'}",
    ]
    return [
        f"{kind}; {clock}; {known('governor', '', 'governor')}{flags}",
        "; ".join(cores),
        f"caches: {', '.join(found.get('caches') or []) or 'not known'}",
        f"NumPy's BLAS: {found.get('blas') or 'not known'}",
        f"{found.get('os') or 'operating system not known'}, {found.get('kernel')}",
    ]


def _threads_a_core(cpu: dict[str, str]) -> int | None:
    siblings, cores = cpu.get("siblings"), cpu.get("cpu cores")
    return int(siblings) // int(cores) if siblings and cores else None


def _caches(folder: Path) -> list[str]:
    """The first core's, such as ``L2 Unified 1024K for cores 0``."""
    found = []
    for index in sorted(folder.glob("index*")):
        names = ("level", "type", "size", "shared_cpu_list")
        level, kind, size, cores = (_read(index / name) for name in names)
        if level and size:
            found.append(f"L{level} {kind} {size} for cores {cores}")
    return found


def limits(root: Path = Path("/")) -> dict[str, float]:
    """CPUs and bytes that a container's control groups leave; no key where they set no limit."""
    found: dict[str, float] = {}

    def lower(name: str, value: float) -> None:
        found[name] = min(value, found.get(name, value))

    base = root / "sys/fs/cgroup"
    for line in (_read(root / "proc/self/cgroup") or "0::/").splitlines():
        kinds, path = line.split(":", 2)[1:]
        own = base / kinds / path.lstrip("/")
        for folder in (own, *own.parents):
            if not folder.is_relative_to(base):
                break
            quota, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
            pair = (_read(folder / "cpu.max") or f"{quota} {period}").split()
            if len(pair) == 2 and pair[0].isdigit() and pair[1].isdigit():
                lower("cpus", int(pair[0]) / int(pair[1]))
            most = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
            if most and most.isdigit() and int(most) < 2**60:  # the first version's "none"
                lower("memory_bytes", int(most))
    return found


@cache
def blas() -> str | None:
    """NumPy's BLAS, as it was built; with threadpoolctl also its kernel and threads here."""
    built = cast(Any, np.show_config)(mode="dicts")["Build Dependencies"]["blas"]
    text = " ".join(str(built.get(key) or "") for key in ("name", "version")).strip() or None
    try:
        found = importlib.import_module("threadpoolctl").threadpool_info()
    except ImportError:
        return text and f"{text}; its kernel is not known: threadpoolctl is not installed"
    kinds = [pool for pool in found if pool["user_api"] == "blas"]
    used = [
        f"kernel {pool.get('architecture')}, {pool['num_threads']} threads"
        for pool in kinds
        if "numpy" in pool["filepath"]
    ]
    return text and "; ".join([text, *used])


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
