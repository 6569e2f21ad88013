"""Gradients for the rows of the input matrix that a batch uses, instead of for all of them."""

from __future__ import annotations

import jax.numpy as jnp

from rnn_jax.arrays.masking import fill_masked
from rnn_jax.arrays.paths import at_path, replace_at
from rnn_jax.arrays.tokens import as_index, check_ids, look_up
from rnn_jax.types import Array, Params

__all__ = ["add_rows", "gather_rows"]


def gather_rows(
    params: Params, path: tuple[str, ...], ids: Array, mask: Array | None
) -> tuple[Params, Array]:
    """The same function of fewer parameters: the table reduced to the rows of ``ids``, renumbered.

    ``f(params, ids) = f(small, new_ids)`` for every ``f`` that only looks rows of the table up, so
    that the gradient with respect to ``small`` needs no row the batch does not use.

    Args:
      params: parameters with a table ``[V, H]`` at ``path``.
      path: where the table stands.
      ids: ``int[T, B]``.
      mask: ``bool[T, B]`` or None; ids at masked steps are not read.

    Returns:
      ``params`` with ``table[ids]``, ``[T·B, H]``, in the table's place, and the ids
      ``0 … T·B-1`` in the shape of ``ids``.
    """
    table = at_path(params, path)
    check_ids(ids, table.shape[0], mask)
    rows = look_up(table, fill_masked(ids, mask).reshape(-1))
    return replace_at(params, path, rows), jnp.arange(ids.size).reshape(ids.shape)


def add_rows(table: Array, ids: Array, mask: Array | None, updates: Array) -> Array:
    """``table [V, H]`` with ``updates [T·B, H]`` added to the rows of ``ids``, repeated or not."""
    where = as_index(fill_masked(ids, mask)).reshape(-1)
    added: Array = table.at[where].add(updates, mode="drop", wrap_negative_indices=False)
    return added
