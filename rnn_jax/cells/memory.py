"""What the LSTMs share: a forget bias and a carry of two."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.cells.gated import GatedCell
from rnn_jax.types import Array, Carry, Params

__all__ = ["LSTMCarry", "MemoryCell", "named"]


class LSTMCarry(NamedTuple):
    """The carry of an LSTM, the pair ``(h, c)``.

    h: the output, ``[*B, H]``, or ``[*B, P]`` with a projection.
    c: the cell state, ``[*B, H]``.
    """

    h: Array
    c: Array


def named(new: Carry, like: Carry) -> Carry:
    """``new`` in the containers of ``like``: a plain pair for a plain pair, names for names.

    Carries of LSTMs may be handed in, and returned by a custom cell, as ``(h, c)``; a loop over
    steps needs one structure throughout. Trees that differ in anything else stay as they are.

    Example:
      >>> named((1.0, 2.0), LSTMCarry(0.0, 0.0)), named(LSTMCarry(1.0, 2.0), (0.0, 0.0))
      (LSTMCarry(h=1.0, c=2.0), (1.0, 2.0))
    """
    structure: Any = jax.tree.structure(like)
    if jax.tree.structure(new) == structure:
        return new
    # As values, a NamedTuple and the tuple of its members are equal.
    shapes = (jax.tree.map(np.shape, tree) for tree in (new, like))
    same = operator.eq(*shapes)
    return jax.tree.unflatten(structure, jax.tree.leaves(new)) if same else new


@dataclass(frozen=True)
class MemoryCell(GatedCell):
    """A `GatedCell` with gates i, f, g, o; ``forget_bias`` is added to f and not learned.

    The carry is an `LSTMCarry`.
    """

    forget_bias: float = 0.0
    gates: ClassVar[int] = 4
    gate_names: ClassVar[tuple[str, ...]] = ("i", "f", "o")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.forget_bias):
            raise ValueError(f"forget_bias must be finite, not {self.forget_bias}")

    def zero_carry(self, batch_shape: tuple[int, ...], dtype: jnp.dtype | None) -> LSTMCarry:
        """Zeros ``(h, c)``."""
        # Two arrays, not one twice: a train step that donates its state cannot give one away twice.
        h, c = (
            jnp.zeros((*batch_shape, size), dtype) for size in (self.output_size, self.hidden_size)
        )
        return LSTMCarry(h, c)

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
