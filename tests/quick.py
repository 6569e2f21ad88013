"""The compiler's quickest options: tests compile far more than they compute.

``XLA_FLAGS=$(python -m tests.quick) pytest`` runs tests with them throughout; functions that are
the tests' own are compiled with `QUICK` anyway.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax

ROOT = Path(__file__).parents[1]


def _known_options() -> dict[str, Any]:
    """What makes compilation six times as fast, where the installed compiler knows it."""
    options = {
        "xla_backend_optimization_level": 0,
        "xla_cpu_use_fusion_emitters": False,
        "xla_cpu_parallel_codegen_split_count": 1,
    }
    try:
        jax.jit(lambda x: x + 1, compiler_options=options)(0)
    except jax.errors.JaxRuntimeError:
        return {}
    return options


QUICK = _known_options()
FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())


def environment(devices: int = 1, **settings: str) -> dict[str, str]:
    """The environment of a program that compiles quickly, with so many virtual devices."""
    flags = f"{FLAGS} --xla_force_host_platform_device_count={devices}"
    fixed = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return os.environ | fixed | settings


if __name__ == "__main__":
    print(FLAGS)
