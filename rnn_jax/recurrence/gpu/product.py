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
    whole, rest = divmod(count, _CHUNK)

    def chunk(i: Any, _: None) -> None:
        rows = _lines(i * _CHUNK, _CHUNK)
        copy[rows] = matrix[rows]

    if whole:
        lax.fori_loop(0, whole, chunk, None)
    for row in range(count - rest, count):
        copy[row] = matrix[row]
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

    def plus(sums: Any, k: Any) -> Any:
        return jax.tree.map(jnp.add, sums, term(k))

    def several(i: Any, sums: Any) -> Any:
        for k in range(form.unroll):
            sums = plus(sums, 1 + i * form.unroll + k)
        return sums

    # From the first term, not from zero: a loop starts from what its rounds return.
    whole = (form.units - 1) // form.unroll
    sums = term(0)
    if whole:
        sums = lax.fori_loop(0, whole, several, sums)
    for k in range(1 + whole * form.unroll, form.units):
        sums = plus(sums, k)
    return sums
