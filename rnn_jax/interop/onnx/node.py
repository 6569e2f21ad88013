"""A node of an ONNX graph and what is known of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_jax.interop.onnx.values import Known, Unknown, Value

__all__ = ["Node"]


@dataclass(frozen=True)
class Node:
    """A node: operator, name, attributes, what is known of its inputs, first output, outputs."""

    operator: str
    name: str
    attributes: Mapping[str, Any]
    inputs: Sequence[Value | None]
    output: str
    count: int = 1

    def numbers(self, position: int, attribute: str) -> list[int] | None:
        """What is an input of newer operators and an attribute of older ones; None: not given."""
        if attribute in self.attributes:
            given = self.attributes[attribute]
            return [int(n) for n in given] if isinstance(given, list | tuple) else [int(given)]
        value = self.inputs[position] if position < len(self.inputs) else None
        return [int(n) for n in np.ravel(value.array)] if isinstance(value, Known) else None

    def no(self, why: str) -> Unknown:
        """The clause that says why it is not a layer's."""
        return Unknown(f"its operator {self.operator} ({self.name!r}) {why}")
