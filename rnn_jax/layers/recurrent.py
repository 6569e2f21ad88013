"""A cell as a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnn_jax.cells import input_table_of
from rnn_jax.layers.base import BaseLayer
from rnn_jax.recurrence.unroll import Backend, can_sweep, run
from rnn_jax.types import Along, Array, Carry, Cell, Params

__all__ = ["Recurrent", "recurrent"]


@dataclass(frozen=True)
class Recurrent(BaseLayer):
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
        return input_table_of(self.cell)

    def init(self, key: Array, input_size: int) -> Params:
        """The cell's parameters."""
        return self.cell.init(key, input_size)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The cell's initial carry."""
        return self.cell.initial_carry(batch_shape, params)

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The cell run over ``xs``; see `unroll`."""
        how: Any = {"reverse": self.reverse, "every": every, "backend": self.backend}
        return run(self.cell, params, carry, xs, along.steps, **how)

    def can_slide(self, carry: Carry, xs: Array) -> bool:
        """Whether there is `run_sliding`: fast cells have, but not what runs in its own way."""
        return (
            type(self).run is Recurrent.run
            and not self.own_apply
            and can_sweep(self.cell, carry, xs, self.backend)
        )

    def run_sliding(
        self, lags: int, params: Params, carry: Carry, xs: Array, along: Along
    ) -> tuple[Carry, Array]:
        """The carries and outputs of every step; a loss reaches ``lags`` further steps back.

        Only where it `can_slide`.
        """
        how: Any = {"reverse": False, "every": True, "backend": self.backend, "lags": lags}
        return run(self.cell, params, carry, xs, along.steps, **how)


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
