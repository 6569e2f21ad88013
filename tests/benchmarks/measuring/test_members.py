"""The members that the laws are held to, and those of the tests: neither table lacks any."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.measuring import members
from rnn_jax import Cell, Layer
from tests.cases import CELLS, LAYERS, MODELS

# Rounded to 16 bits, which the tolerances of the tests' table do not allow.
ONLY_MEMBERS = {"MixedPrecision"}


def equations(cell: Cell) -> tuple[str, str]:
    """Which equations a cell has, whatever its size, its biases and its parameters at first."""
    activation = getattr(cell, "activation", None)
    return type(cell).__name__, getattr(activation, "__name__", "")


def inside(part: Any) -> Iterator[str]:
    """The names of the classes of layers that a layer or a model consists of."""
    if isinstance(part, (tuple, list)):
        for each in part:
            yield from inside(each)
    elif dataclasses.is_dataclass(part):
        if isinstance(part, Layer):
            yield type(part).__name__
        for field in dataclasses.fields(part):
            yield from inside(getattr(part, field.name))


def all_inside(parts: Iterable[Any]) -> set[str]:
    return {name for part in parts for name in inside(part)}


def test_both_tables_have_the_same_cells() -> None:
    ours = {equations(make(3)) for make in members.CELLS.values()}
    assert ours == {equations(cell) for cell in CELLS.values()}


def test_both_tables_have_the_same_layers() -> None:
    ours = all_inside(member.make("auto", False) for member in members.layers(3).values())
    models = {type(model).__name__ for model, _ in MODELS.values()}
    theirs = all_inside(layer for layer, _ in (*LAYERS.values(), *MODELS.values()))
    assert ours - ONLY_MEMBERS == theirs - models
