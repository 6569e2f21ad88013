"""Entries of nested dicts of parameters, by path."""

from __future__ import annotations

from typing import Any

from rnn_jax.types import Params

__all__ = ["at_path", "replace_at"]


def at_path(params: Params, path: tuple[str, ...]) -> Any:
    """The entry of nested dicts at ``path``."""
    for name in path:
        params = params[name]
    return params


def replace_at(params: Params, path: tuple[str, ...], leaf: Any) -> Params:
    """Copies of nested dicts with the entry at ``path`` replaced."""
    name, *rest = path
    new = replace_at(params[name], tuple(rest), leaf) if rest else leaf
    return {**params, name: new}
