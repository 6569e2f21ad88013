"""Products with the recurrent matrix, which a loop reads again at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from rnn_jax.arrays.products import affine, product
from rnn_jax.jaxprs import row_major
from rnn_jax.types import Array

__all__ = ["LAID_OUT", "PLAIN", "Multiply", "Products"]

Multiply = Callable[[Array], Array]


class Products(NamedTuple):
    """One way to multiply by ``w [H, G]``, of the steps whose input products are ``zs [T, B, G]``.

    What can be done once stands outside the function that is returned, which the loop calls.

    onward: ``(w, zs) -> (xs -> xs w)``.
    back: ``(w, zs) -> (ds -> ds wᵀ)``.
    """

    onward: Callable[[Array, Array], Multiply]
    back: Callable[[Array, Array], Multiply]


PLAIN = Products(
    onward=lambda w, zs: lambda xs: product(xs, w),
    back=lambda w, zs: lambda ds: affine(ds, w, transposed=True),
)

# Entries of a matrix: up to 4 MB of float32 its transpose is worth a copy, and from 12 MB on the
# product is worth turning round. Between the two a product gains 5 to 20 % at some sizes and loses
# at others: docs/speed.md has a table.
_COPIED, _TURNED = 2**20, 3 * 2**20
_TIMED = jnp.float32
# Steps after which a transpose has paid for itself.
_STEPS = {"copied": 4, "turned": 16}


def _onward(w: Array, zs: Array) -> Multiply:
    if _turned(w, zs) and zs.shape[0] >= _STEPS["turned"]:
        return _turned_round(row_major(w.T))
    return PLAIN.onward(w, zs)


def _back(w: Array, zs: Array) -> Multiply:
    if _turned(w, zs):
        return _turned_round(w)
    if _measured(w, zs) and w.size <= _COPIED and zs.shape[0] >= _STEPS["copied"]:
        transposed = row_major(w.T)
        return lambda ds: product(ds, transposed)
    return PLAIN.back(w, zs)


def _turned_round(transposed: Array) -> Multiply:
    """``xs w`` as ``(wᵀ xsᵀ)ᵀ``.

    XLA's CPU library packs the right factor of a product anew at every call: here a few rows in
    place of a matrix that no cache holds.
    """
    return lambda xs: row_major(row_major(product(transposed, row_major(xs.T))).T)


def _turned(w: Array, zs: Array) -> bool:
    return _measured(w, zs) and w.size >= _TURNED


def _measured(w: Array, zs: Array) -> bool:
    """Whether the sizes are known and those of products that were timed; one row needs no packing.

    An export may leave ``T`` or ``B`` open.
    """
    known = zs.ndim == 3 and all(isinstance(size, int) for size in zs.shape)
    return known and zs.shape[1] > 1 and w.dtype == _TIMED


# By the layouts that XLA's products on a CPU are fastest with.
LAID_OUT = Products(_onward, _back)
