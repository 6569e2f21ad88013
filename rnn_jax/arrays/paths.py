"""Entries of nested parameter dicts, by path."""

from __future__ import annotations

from rnn_jax.types import Array, Params

__all__ = ["at_path", "has_path", "replace_at"]


def at_path(params: Params, path: tuple[str, ...]) -> Params:
    """The entry at ``path`` in nested dicts."""
    for name in path:
        params = params[name]
    return params


def has_path(params: Params, path: tuple[str, ...]) -> bool:
    """Whether there is an entry at ``path``."""
    for name in path:
        if not isinstance(params, dict) or name not in params:
            return False
        params = params[name]
    return True


def replace_at(params: Params, path: tuple[str, ...], leaf: Array | None) -> Params:
    """A copy of nested dicts with the entry at ``path`` replaced."""
    name, *rest = path
    new = replace_at(params[name], tuple(rest), leaf) if rest else leaf
    return {**params, name: new}
