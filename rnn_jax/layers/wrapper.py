"""What layers around one other layer share: its parameters, its carry, its properties."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rnn_jax.types import Array, Carry, Layer, Params

__all__ = ["Wrapper", "check_layer", "inside"]


def check_layer(what: str, layer: Any) -> None:
    """Raise ValueError unless ``layer`` is a `Layer`."""
    if not isinstance(layer, Layer):
        raise ValueError(f"{what}() takes a layer, not {layer!r}: wrap a cell with recurrent()")


def inside(value: Any) -> Iterator[Any]:
    """A layer, and all layers, cells and kinds that it is made of."""
    yield value
    if isinstance(value, tuple):
        for part in value:
            yield from inside(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from inside(getattr(value, field.name))


@dataclass(frozen=True)
class Wrapper:
    """A layer around another one, with that one's parameters and carry; it adds ``apply``."""

    layer: Layer

    @property
    def output_size(self) -> int | None:
        """That of the layer."""
        return self.layer.output_size

    @property
    def causal(self) -> bool:
        """That of the layer."""
        return self.layer.causal

    @property
    def reverse(self) -> bool:
        """Whether it runs from the last step to the first and looks at no step before."""
        return getattr(self.layer, "reverse", False)

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """Where in the parameters the rows stand that an integer input selects."""
        return getattr(self.layer, "input_table", None)

    def init(self, key: Array, input_size: int) -> Params:
        """The layer's parameters."""
        return self.layer.init(key, input_size)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The layer's initial carry."""
        return self.layer.initial_carry(batch_shape, params)
