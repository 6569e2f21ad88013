"""What is fixed of one kernel, and the arrays it reads: units and rows padded to whole tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnn_jax.jaxprs import strided
from rnn_jax.types import Array, Carry

__all__ = ["Form", "Steps", "every_unit", "pad", "unpad"]


@dataclass(frozen=True)
class Form:
    """What is fixed of one kernel.

    steps: ``T``.
    count: rows of the batch.
    rows: of one block; the batch is padded to ``blocks · rows``.
    units: ``H``; vectors are padded to ``padded`` of them.
    gates: blocks of the recurrent product.
    carry: the structure of the carry.
    dtype: of the recurrent matrix and the outputs.
    reverse, every, sums: see `Plan`.
    unroll, ahead, interpret: see `Kernel`.
    resident: whether the matrix is kept in shared memory.
    """

    steps: int
    count: int
    rows: int
    blocks: int
    units: int
    padded: int
    gates: int
    carry: Any
    dtype: Any
    reverse: bool
    every: bool
    sums: bool
    unroll: int
    ahead: bool
    interpret: bool
    resident: bool

    @property
    def batch(self) -> int:
        """Rows with those that fill the last block."""
        return self.blocks * self.rows

    def at(self, i: Any, *, back: bool = False) -> Any:
        """The step that is the ``i``-th to be taken, there or on the way back."""
        return self.steps - 1 - i if self.reverse is not back else i

    def tree(self, leaves: list[Any]) -> Carry:
        """A carry of these leaves."""
        return jax.tree.unflatten(self.carry, leaves)

    def vector(self, *leading: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        """An array of units."""
        made: Any = jax.ShapeDtypeStruct
        vector: jax.ShapeDtypeStruct = made((*leading, self.padded), dtype)
        return vector

    def spread(self, tree: Any) -> Any:
        """Vectors as a loop can carry them from step to step; see `strided`."""
        return tree if self.interpret else jax.tree.map(strided, tree)


def every_unit(form: Form, number: Any) -> Array:
    """A number as the vector of units, for what is compiled unit by unit."""
    return jnp.broadcast_to(number, (form.padded,))


class Steps(NamedTuple):
    """What travels beside the steps, as kernels read it: ``[T, B]`` of int32, int32, float32."""

    mask: Any
    resets: Any
    factor: Any


def pad(form: Form, x: Array, rows: int | None = None) -> Array:
    """``x [..., H]`` with zeros behind its units, and behind the rows of axis ``rows``.

    A row and a unit of padding take part in every step, and nothing reads what becomes of them.
    """
    width = [(0, 0)] * x.ndim
    width[-1] = (0, form.padded - x.shape[-1])
    if rows is not None:
        width[rows] = (0, form.batch - x.shape[rows])
    return jnp.pad(x, width)


def unpad(form: Form, x: Array, batch_shape: tuple[int, ...], rows: int) -> Array:
    """``x`` without what `pad` put there, in the shape of the batch."""
    x = jax.lax.slice_in_dim(x[..., : form.units], 0, form.count, axis=rows)
    return x.reshape(*x.shape[:rows], *batch_shape, *x.shape[rows + 1 :])
