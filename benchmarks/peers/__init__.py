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

__all__ = ["IMPLEMENTATIONS", "OURS", "build", "notes", "versions"]

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


def build(name: str, workload: Recurrence, arrays: Arrays) -> Implementation:
    """The implementation ``name`` of a workload; a missing library is a `ModuleNotFoundError`."""
    module = import_module(f"benchmarks.peers.{IMPLEMENTATIONS[name]}")
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
