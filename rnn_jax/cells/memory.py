"""What the LSTMs share: a forget bias and a carry of two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from rnn_jax.cells.gated import GatedCell
from rnn_jax.types import Array, Carry, Params

__all__ = ["MemoryCell"]


@dataclass(frozen=True)
class MemoryCell(GatedCell):
    """A `GatedCell` with gates i, f, g, o; ``forget_bias`` is added to f and not learned.

    The carry is ``(h, c)``: the output ``[*B, output_size]`` and the cell state ``[*B, H]``.
    """

    forget_bias: float = 0.0
    gates: ClassVar[int] = 4
    gate_names: ClassVar[tuple[str, ...]] = ("i", "f", "o")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.forget_bias):
            raise ValueError(f"forget_bias must be finite, not {self.forget_bias}")

    def zero_carry(
        self, batch_shape: tuple[int, ...], dtype: jnp.dtype | None
    ) -> tuple[Array, Array]:
        """Zeros ``(h, c)``."""
        # Two arrays, not one twice: a train step that donates its state cannot give one away twice.
        h, c = (
            jnp.zeros((*batch_shape, size), dtype) for size in (self.output_size, self.hidden_size)
        )
        return h, c

    def fed(self, carry: Carry) -> Array:
        """``h``, which the recurrent matrix multiplies."""
        h: Array = carry[0]
        return h

    def gate_activations(
        self, params: Params, carry: Carry, new_carry: Carry, z: Array
    ) -> tuple[Array, ...]:
        """``σ(i)``, ``σ(f + forget_bias)`` and ``σ(o)``; see `GatedCell.gate_activations`."""
        i, f, _, o = self.split(z + self.recur(params, self.fed(carry)))
        return jax.nn.sigmoid(i), jax.nn.sigmoid(f + self.forget_bias), jax.nn.sigmoid(o)
