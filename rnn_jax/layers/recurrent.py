"""A cell as a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

from rnn_jax.recurrence.unroll import Backend, unroll, unroll_carries
from rnn_jax.types import Along, Array, Carry, Cell, Params

__all__ = ["Recurrent", "recurrent"]


@dataclass(frozen=True)
class Recurrent:
    """Hyperparameters of `recurrent`, with the pure functions of a `Layer`."""

    cell: Cell
    reverse: bool = False
    backend: Backend = "auto"

    @property
    def output_size(self) -> int:
        """``H``."""
        return self.cell.output_size

    @property
    def causal(self) -> bool:
        """False when it runs from the last step to the first."""
        return not self.reverse

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """Where in the parameters the rows stand that an integer input selects."""
        return getattr(self.cell, "input_table", None)

    def init(self, key: Array, input_size: int) -> Params:
        """The cell's parameters."""
        return self.cell.init(key, input_size)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The cell's initial carry."""
        return self.cell.initial_carry(batch_shape, params)

    def apply(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        mask: Array | None = None,
        key: Array | None = None,
        **along: Unpack[Along],
    ) -> tuple[Carry, Array]:
        """The cell run over ``xs``; see `unroll`."""
        return unroll(
            self.cell, params, carry, xs, mask=mask, gate=along.get("gate"),
            resets=along.get("resets"), reverse=self.reverse, backend=self.backend,
        )  # fmt: skip

    def carries(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        mask: Array | None = None,
        key: Array | None = None,
        **along: Unpack[Along],
    ) -> tuple[Carry, Array]:
        """As ``apply``, with the carry after every step, ``[T, B, …]``; for a causal layer."""
        if self.reverse:
            raise ValueError("a reversed layer has no carries in the order of its steps")
        return unroll_carries(
            self.cell, params, carry, xs, mask=mask, gate=along.get("gate"),
            resets=along.get("resets"), backend=self.backend,
        )  # fmt: skip


def recurrent(cell: Cell, *, reverse: bool = False, backend: Backend = "auto") -> Recurrent:
    """The layer that runs a cell over the whole sequence, forwards or in reverse.

    Its parameters and its carry are the cell's. Outputs ``float[T, B, H]`` are zero where the
    mask is False.

    Args:
      cell: a `Cell`, such as ``elman(100)``.
      reverse: run from the last step to the first; outputs stay in place.
      backend: see `unroll`.

    Example:
      >>> import jax, rnn_jax
      >>> layer = rnn_jax.recurrent(rnn_jax.elman(3))
      >>> params = layer.init(jax.random.key(0), 2)
      >>> carry, ys = layer.apply(params, None, jax.numpy.ones((5, 4, 2)))
      >>> ys.shape
      (5, 4, 3)
    """
    if isinstance(cell, type) or not isinstance(cell, Cell):
        raise ValueError(f"recurrent() takes a cell such as elman(100), not {cell!r}")
    return Recurrent(cell, reverse, backend)
