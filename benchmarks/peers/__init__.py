"""Peers as plug-ins: one file a library, each with `build` and the packages it times.

``build(name, workload, arrays)`` gives an `Implementation` of `benchmarks.measuring.implementation`
or raises its `Unavailable`; ``PACKAGES`` are the distributions whose versions a row states, and
``NOTE``, if there is one, says what is not the same work as ours, or was chosen for it. A file
imports its library inside `build`, so that a missing one is a row with a reason and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module, metadata

from benchmarks.measuring.implementation import Implementation
from benchmarks.measuring.workloads import Arrays, Recurrence
from rnn_jax.recurrence import BACKENDS, Backend

__all__ = [
    "IMPLEMENTATIONS", "OURS", "backend_of", "build", "each_backend", "is_ours", "notes",
    "versions",
]  # fmt: skip

OURS = "rnn_jax"

# The name in a row, and the file that builds it.
IMPLEMENTATIONS = {
    OURS: "ours",
    "torch": "pytorch",
    "flax-linen": "flax_linen",
    "flax-linen-optimized": "flax_linen",
    "haiku": "haiku",
    "equinox": "equinox",
    "keras": "keras",
    "torch-compile": "pytorch",
    "jax-cudnn": "jax_cudnn",
    "numpy-vectorised": "numpy",
    "numpy-loop": "numpy",
}


def is_ours(name: str) -> bool:
    """Whether an implementation is rnn_jax, by whatever way: ``rnn_jax``, ``rnn_jax-chunked:8``."""
    return name == OURS or name.startswith(f"{OURS}-")


def each_backend() -> dict[str, Backend]:
    """Ours by each of its backends: "auto" is the name itself, the others stand behind it."""
    return {OURS if one == "auto" else f"{OURS}-{one}": one for one in BACKENDS}


def backend_of(name: str) -> Backend:
    """The backend of ours that a name of `each_backend` stands for; "auto" for any other."""
    return each_backend().get(name, "auto")


def build(name: str, workload: Recurrence, arrays: Arrays) -> Implementation:
    """The implementation ``name`` of a workload; a missing library is a `ModuleNotFoundError`."""
    file = IMPLEMENTATIONS[OURS if name in each_backend() else name]
    module = import_module(f"benchmarks.peers.{file}")
    implementation: Implementation = module.build(name, workload, arrays)
    return implementation


def notes(names: Iterable[str]) -> dict[str, list[str]]:
    """What is to be known of each library among implementations of these names, and which they are.

    Example:
      >>> [peers for text, peers in notes(["rnn_jax", "haiku", "torch"]).items()]
      [['haiku'], ['torch']]
    """
    found: dict[str, list[str]] = {}
    for name in names:
        if name in IMPLEMENTATIONS:
            note = getattr(import_module(f"benchmarks.peers.{IMPLEMENTATIONS[name]}"), "NOTE", None)
            if note is not None:
                found.setdefault(note, []).append(name)
    return found


def versions(name: str) -> dict[str, str]:
    """Versions of the installed packages among those that an implementation uses.

    One such as ``torch-2-workers``, which is not in the table, uses those of ``torch``.
    """
    if name.startswith("published"):
        return {}
    ways = (known for known in IMPLEMENTATIONS if name.startswith(f"{known}-"))
    known = name if name in IMPLEMENTATIONS else next(ways, None)
    file = None if known is None else f"benchmarks.peers.{IMPLEMENTATIONS[known]}"
    packages = () if file is None else import_module(file).PACKAGES
    installed = {}
    for package in packages or ("jax", "jaxlib", "numpy"):
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed
