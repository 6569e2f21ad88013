"""What layers around one other layer share: its parameters, its carry, its properties."""

from __future__ import annotations

from dataclasses import dataclass

from rnn_jax.layers.base import BaseLayer, adapted
from rnn_jax.types import Array, Carry, Layer, Params

__all__ = ["Wrapper"]


@dataclass(frozen=True)
class Wrapper(BaseLayer):
    """A layer around another one, with that one's parameters and carry; it adds ``run``."""

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
        """That of the layer."""
        return adapted(self.layer).reverse

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """That of the layer."""
        return adapted(self.layer).input_table

    def init(self, key: Array, input_size: int) -> Params:
        """The layer's parameters."""
        return self.layer.init(key, input_size)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The layer's initial carry."""
        return self.layer.initial_carry(batch_shape, params)
