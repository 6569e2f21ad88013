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


# What makes compilation six times as fast. Compilers of other versions know others of these.
_OPTIONS: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


def _is_known(name: str) -> bool:
    """Whether the installed compiler takes an option: it refuses all where it lacks one."""
    try:
        jax.jit(lambda x: x + 1, compiler_options={name: _OPTIONS[name]})(0)
    except jax.errors.JaxRuntimeError:
        return False
    return True


QUICK = {name: value for name, value in _OPTIONS.items() if _is_known(name)}
FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())


def environment(devices: int = 1, **settings: str) -> dict[str, str]:
    """The environment of a program that compiles quickly, with so many virtual devices."""
    flags = f"{FLAGS} --xla_force_host_platform_device_count={devices}"
    fixed = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return os.environ | fixed | settings


if __name__ == "__main__":
    print(FLAGS)
