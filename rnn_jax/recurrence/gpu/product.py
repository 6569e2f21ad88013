"""The recurrent product inside a kernel: sums of a number times a row of the matrix.

Exact float32, by multiply-add: products by tensor cores round float32 to 10 bits of fraction, need
64 rows, and a step of few rows waits for memory, not for arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.recurrence.gpu.form import Form

__all__ = ["matrix_row", "resident", "total"]

_CHUNK = 16  # rows copied at once: as many reads are under way before the first is waited for


def resident(form: Form, matrix: Any, shared: list[Any]) -> Any:
    """Where rows of the matrix are read: its copy in shared memory if there is one."""
    if not shared:
        return matrix
    (copy,) = shared
    count = form.units * form.gates
    size = min(count, _CHUNK)

    def chunk(i: Any, _: None) -> None:
        # The last chunk ends with the matrix, and copies some rows again.
        rows = _lines(jnp.minimum(i * size, count - size), size)
        copy[rows] = matrix[rows]

    lax.fori_loop(0, -(-count // size), chunk, None)
    return copy


def _lines(start: Any, size: int) -> Any:
    from jax.experimental import pallas

    return pallas.ds(start, size)


def matrix_row(form: Form, matrix: Any, unit: Any, gate: int) -> Any:
    """A row of the matrix, or of its transpose, in float32."""
    row = form.spread(matrix[unit * form.gates + gate])
    return row.astype(jnp.float32)


def total(form: Form, term: Callable[[Any], Any]) -> Any:
    """``Σ term(k)`` over the units ``k``; a term is a tree of vectors."""

    def block(start: Any, size: int, sums: Any) -> Any:
        for k in range(size):
            one = term(start + k)
            sums = one if sums is None else jax.tree.map(jnp.add, sums, one)
        return sums

    # From the first block, not from zero: a loop starts from what its rounds return. Blocks start
    # at multiples of their size, so that neighbouring numbers are read together.
    size = min(form.unroll, form.units)
    whole, rest = divmod(form.units, size)
    sums = block(0, size, None)
    if whole > 1:
        sums = lax.fori_loop(1, whole, lambda i, sums: block(i * size, size, sums), sums)
    return block(whole * size, rest, sums)
