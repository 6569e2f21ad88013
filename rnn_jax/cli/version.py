"""``rnn-jax --version``."""

from __future__ import annotations

import platform
from importlib.metadata import distributions
from importlib.metadata import version as version_of

import typer

import rnn_jax

__all__ = ["version"]


def version(asked: bool) -> None:
    """Print what a report of a fault must say; no device is asked, which could take seconds."""
    if not asked:
        return
    print(f"rnn_jax {rnn_jax.__version__}")
    print(f"Python {platform.python_version()}, {platform.platform()}")
    print(f"JAX {version_of('jax')}, jaxlib {version_of('jaxlib')}, {_plugins()}")
    raise typer.Exit


def _plugins() -> str:
    """The plugins that are installed for devices beyond the CPU."""
    names = {(d.metadata["Name"] or "").lower(): d.version for d in distributions()}
    found = [
        f"{name} {number}"
        for name, number in sorted(names.items())
        if name == "libtpu" or (name.startswith("jax-") and name.endswith("-plugin"))
    ]
    return ", ".join(found) or "no plugin for an accelerator"
