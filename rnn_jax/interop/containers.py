"""The containers of a tree that names joined by dots cannot tell: pairs, lists and empty ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rnn_jax.cells import LSTMCarry

__all__ = ["described", "nested"]

_MAKE: dict[str, Any] = {
    "dict": dict,
    "tuple": tuple,
    "list": list,
    "LSTMCarry": lambda parts: LSTMCarry(*parts),
    "None": lambda parts: None,
}
_KINDS: dict[type, str] = {dict: "dict", tuple: "tuple", list: "list", LSTMCarry: "LSTMCarry"}


def described(tree: Any) -> list[tuple[tuple[str, ...], str]]:
    """The path and kind of what differs from nested dicts with something in them.

    Example:
      >>> described({"layer": {"carry": (1.0, 2.0)}, "none": {}})
      [(('layer', 'carry'), 'tuple'), (('none',), 'dict')]
    """
    return sorted(_containers(tree, ()))


def _containers(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    kind = "None" if node is None else _KINDS.get(type(node))
    if kind is None:  # a leaf, or a class that only ``like`` can restore
        return
    if kind != "dict" or not node:
        yield path, kind
    items = node.items() if isinstance(node, dict) else enumerate(node or ())
    for name, part in items:
        yield from _containers(part, (*path, str(name)))


def nested(flat: dict[str, Any], containers: Any) -> Any:
    """The tree of entries named by their paths, with its containers as `described`.

    Without a description, None, they are dicts, but for what files of before there was any hold.

    Raises:
      ValueError: one name is that of an array and of a container, or the description is broken.
    """
    root: dict[str, Any] = {}
    for name, leaf in flat.items():
        *outer, last = name.split(".")
        entries = _entered(root, outer)
        if last in entries:
            raise ValueError(f"{name} is the name of an array and of others' container")
        entries[last] = leaf
    if containers is None:
        return _older(root)
    try:
        found = [(list(map(str, path)), _MAKE[kind]) for path, kind in containers]
        # From the inside out: a container is made of finished ones.
        whole = {"": root}
        for path, make in sorted(found, key=lambda entry: -len(entry[0])):
            *outer, last = "", *path
            box = _entered(whole, outer)
            entries = box.setdefault(last, {})
            parts = [entries[str(i)] for i in range(len(entries))] if make is not dict else entries
            box[last] = make(parts)
        return whole[""]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError("its description of containers is broken") from None


def _entered(root: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for name in path:
        root = root.setdefault(name, {})
        if not isinstance(root, dict):
            raise ValueError(f"{name} is the name of an array and of others' container")
    return root


def _older(tree: Any) -> Any:
    """Parameters of files without a description: an LSTM's learned carry is a pair again."""
    if not isinstance(tree, dict):
        return tree
    carry = tree.get("carry")
    if "w_hh" in tree and isinstance(carry, dict) and set(carry) == {"0", "1"}:
        return {**tree, "carry": LSTMCarry(carry["0"], carry["1"])}
    return {name: _older(part) for name, part in tree.items()}
