"""Tables reduced to the rows that a batch uses: for their gradients, updates and moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from rnn_jax.arrays.masking import fill_masked
from rnn_jax.arrays.paths import at_path, replace_at
from rnn_jax.arrays.tokens import as_index, look_up
from rnn_jax.types import Array, Params

__all__ = [
    "Marks",
    "Used",
    "add_rows",
    "gather_rows",
    "index_of",
    "mark_rows",
    "mark_seen",
    "merged",
    "reduced",
]  # fmt: skip

# A row of no word, behind all that a table can have.
_NONE = 2**31 - 1
_WHOLE = object()  # in the place of what is no table

Marks = Any


class Used(NamedTuple):
    """The rows of one table that a batch uses.

    path: where in the parameters the table ``[V, …]`` stands.
    rows: ``int[n]``; what lies outside ``0 … V-1`` is a row of no word.
    """

    path: tuple[str, ...]
    rows: Array


def index_of(ids: Array, mask: Array | None, *, once: bool) -> tuple[Array, Array]:
    """The rows ``int[n]`` of n ids, and where in these rows each id stands.

    Args:
      ids: ``int[T, B]``, or any shape.
      mask: of the shape of ids, or None; masked ones are not read.
      once: whether what occurs several times has one row, and what is masked none; the rows left
        over are then of no word. Otherwise there is a row for each id.
    """
    if not once:
        index = as_index(fill_masked(ids, mask)).reshape(-1)
        return index, jnp.arange(ids.size).reshape(ids.shape)
    index = as_index(ids)
    # An id below zero is as little a word as one behind the last, and like that one NaN.
    index = jnp.where(index < 0, _NONE - 1, index)
    if mask is not None:
        index = jnp.where(mask, index, _NONE)
    rows, positions = jnp.unique(
        index.reshape(-1), return_inverse=True, size=index.size, fill_value=_NONE
    )
    return rows, positions.reshape(ids.shape)


def gather_rows(params: Params, tables: Sequence[Used]) -> Params:
    """The parameters with the tables reduced to the rows that are used.

    ``f(params, ids) = f(small, positions)`` for every ``f`` that only looks rows of the tables up,
    so that the gradient with respect to ``small`` needs no row the batch does not use.
    """
    for path, index in tables:
        rows = look_up(at_path(params, path), index)
        none = _beside(index == _NONE, rows)
        params = replace_at(params, path, jnp.where(none, jnp.zeros_like(rows), rows))
    return params


def add_rows(params: Params, tables: Sequence[Used], updates: Params) -> Params:
    """The whole parameters with the updates of the rows added, those of one row all of them."""
    for path, index in tables:
        table = at_path(params, path).at[index]
        added = table.add(at_path(updates, path), mode="drop", wrap_negative_indices=False)
        params = replace_at(params, path, added)
    return params


def mark_rows(
    optimizer: optax.GradientTransformation,
    opt_state: optax.OptState,
    params: Params,
    tables: Sequence[Used],
) -> Marks:
    """Where in an optimiser's state tables of its own stand, such as moments, and their rows."""
    return _marked(optimizer, opt_state, params, tables)


def mark_seen(
    optimizer: optax.GradientTransformation,
    opt_state: optax.OptState,
    params: Params,
    tables: Sequence[Used],
    axis_name: str | None,
) -> tuple[Marks, Marks]:
    """Of parameters and state, the rows of each table that any device uses, ``bool[V]``."""
    seen = []
    for path, index in tables:
        rows = jnp.zeros(at_path(params, path).shape[0], jnp.int32)
        rows = rows.at[index].max(1, mode="drop", wrap_negative_indices=False)
        if axis_name is not None:
            rows = lax.pmax(rows, axis_name)  # type: ignore[no-untyped-call]
        seen.append(Used(path, rows > 0))
    return _by_leaf(params, seen), _marked(optimizer, opt_state, params, seen)


def reduced(marks: Marks, state: Any) -> Any:
    """The state with its tables reduced to the rows of `mark_rows`; rows of no word are zero."""

    def rows(index: Any, leaf: Array) -> Array:
        if index is _WHOLE:
            return leaf
        at = leaf.at[index]
        found: Array = at.get(mode="fill", fill_value=0, wrap_negative_indices=False)
        return found

    return jax.tree.map(rows, marks, state)


def merged(marks: Marks, old: Any, new: Any) -> Any:
    """The old tables with the rows that are marked new; all that is no table is new.

    ``new`` has, of each table, what `reduced` leaves of it; marked by `mark_seen`, all of it.
    """

    def merge(mark: Any, old: Array, new: Array) -> Array:
        if mark is _WHOLE:
            return new
        if mark.dtype == bool:
            return jnp.where(_beside(mark, new), new, old)
        put: Array = old.at[mark].set(new, mode="drop", wrap_negative_indices=False)
        return put

    return jax.tree.map(merge, marks, old, new)


def _marked(optimizer: Any, opt_state: Any, params: Params, tables: Sequence[Used]) -> Marks:
    return optax.tree_utils.tree_map_params(
        optimizer,
        lambda _, mark: mark,
        opt_state,
        _by_leaf(params, tables),
        transform_non_params=lambda _: _WHOLE,
    )


def _by_leaf(params: Params, tables: Sequence[Used]) -> Marks:
    """For each leaf of the parameters the index of its table, or `_WHOLE`."""
    marks = jax.tree.map(lambda _: _WHOLE, params)
    for path, index in tables:
        marks = replace_at(marks, path, index)
    return marks


def _beside(flags: Array, rows: Array) -> Array:
    """``bool[n]`` with the axes of ``rows [n, …]``."""
    return flags.reshape(flags.shape + (1,) * (rows.ndim - 1))
