"""Tables reduced to the rows that a batch uses: for their gradients, updates and moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from rnn_jax.arrays.masking import expand, fill_masked
from rnn_jax.arrays.paths import at_path, replace_at
from rnn_jax.arrays.tokens import as_index, look_up
from rnn_jax.jaxprs import in_auto_mode, varying_axes
from rnn_jax.types import Array, Params

__all__ = [
    "Marks", "Used", "add_rows", "gather_rows", "index_of", "keep_rows", "marks_of",
    "marks_of_state", "put_rows", "reduced", "used_rows",
]  # fmt: skip

# A row of no word, behind all that a table can have.
_NONE = 2**31 - 1
_WHOLE = object()  # in the place of what is no table

Marks = Any


class Used(NamedTuple):
    """The rows of one table that a batch uses.

    path: where in the parameters the table ``[V, …]`` stands.
    rows: ``int[n]``, of which what lies outside ``0 … V-1`` is a row of no word; or ``bool[V]``.
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
        return jnp.minimum(index, _NONE - 1), jnp.arange(ids.size).reshape(ids.shape)
    rows, positions = jnp.unique(
        _or_none(ids, mask), return_inverse=True, size=ids.size, fill_value=_NONE
    )
    return rows, positions.reshape(ids.shape)


def used_rows(ids: Array, mask: Array | None, vocab_size: int, axis_name: str | None) -> Array:
    """``bool[V]``, whether a row is used, by the batch of any device."""

    def flags(ids: Array, mask: Array | None) -> tuple[Array]:
        rows = jnp.zeros(vocab_size, jnp.int32).at[_or_none(ids, mask)]
        return (rows.max(1, mode="drop", wrap_negative_indices=False),)

    (rows,) = in_auto_mode(flags, (ids, mask), ((None,),))
    axes = (axis_name,) if axis_name is not None else tuple(varying_axes(rows))
    if axes:
        rows = lax.pmax(rows, axes)  # type: ignore[no-untyped-call]
    found: Array = rows > 0
    return found


def _or_none(ids: Array, mask: Array | None) -> Array:
    """``int[n]``, with `_NONE` where masked."""
    index = as_index(ids)
    # An id below zero is as little a word as one behind the last, and like that one NaN.
    index = jnp.where(index < 0, _NONE - 1, jnp.minimum(index, _NONE - 1))
    return (index if mask is None else jnp.where(mask, index, _NONE)).reshape(-1)


def gather_rows(params: Params, tables: Sequence[Used]) -> Params:
    """The parameters with the tables reduced to the rows that are used.

    ``f(params, ids) = f(small, positions)`` for every ``f`` that only looks rows of the tables up,
    so that the gradient with respect to ``small`` needs no row the batch does not use.
    """
    for path, index in tables:
        rows = fill_masked(look_up(at_path(params, path), index), index != _NONE)
        params = replace_at(params, path, rows)
    return params


def add_rows(params: Params, tables: Sequence[Used], updates: Params) -> Params:
    """The whole parameters with the updates of the rows added, those of one row all of them."""
    for path, index in tables:
        table = at_path(params, path).at[index]
        added = table.add(at_path(updates, path), mode="drop", wrap_negative_indices=False)
        params = replace_at(params, path, added)
    return params


def marks_of(params: Params, tables: Sequence[Used]) -> Marks:
    """For each leaf of the parameters the rows of its table that are used, or a mark of none."""
    marks = jax.tree.map(lambda _: _WHOLE, params)
    for path, rows in tables:
        marks = replace_at(marks, path, rows)
    return marks


def marks_of_state(
    optimizer: optax.GradientTransformation,
    opt_state: optax.OptState,
    params: Params,
    tables: Sequence[Used],
) -> Marks:
    """The same for an optimiser's state, which has tables of its own, such as moments.

    Raises:
      ValueError: these have another shape than the parameters, or cannot be told from the rest.
    """

    def mark_of(leaf: Any, mark: Any, param: Any) -> Any:
        if mark is _WHOLE:
            return _WHOLE
        if leaf.shape != param.shape:
            raise ValueError(
                f"lazy() takes optimisers whose moments have the shape of the parameters, and one "
                f"of a table {list(param.shape)} is {list(leaf.shape)}: use another optimiser, or "
                "this one without lazy()"
            )
        return mark

    try:
        return optax.tree_utils.tree_map_params(
            optimizer,
            mark_of,
            opt_state,
            marks_of(params, tables),
            params,
            transform_non_params=lambda _: _WHOLE,
        )
    except (AttributeError, KeyError, TypeError):  # as of a part of the parameters alone
        raise ValueError(
            "lazy() cannot tell the moments in this optimiser's state: give it one that treats all "
            "parameters alike, or leave it out"
        ) from None


def reduced(marks: Marks, state: Any) -> Any:
    """The state with its tables reduced to the rows that are marked; rows of no word are zero."""

    def rows(index: Any, leaf: Array) -> Array:
        if index is _WHOLE:
            return leaf
        at = leaf.at[index]
        found: Array = at.get(mode="fill", fill_value=0, wrap_negative_indices=False)
        return found

    return jax.tree.map(rows, marks, state)


def put_rows(marks: Marks, old: Any, new: Any) -> Any:
    """The old tables with rows of new ones, `reduced`, in place; all that is no table is new."""

    def put(index: Any, old: Array, new: Array) -> Array:
        if index is _WHOLE:
            return new
        changed: Array = old.at[index].set(new, mode="drop", wrap_negative_indices=False)
        return changed

    return jax.tree.map(put, marks, old, new)


def keep_rows(marks: Marks, old: Any, new: Any) -> Any:
    """The new tables with old rows where none is used; all that is no table is new."""

    def keep(used: Any, old: Array, new: Array) -> Array:
        return new if used is _WHOLE else jnp.where(expand(used, new), new, old)

    return jax.tree.map(keep, marks, old, new)
