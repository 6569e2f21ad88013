"""What a training step sees of tables, and how they are put together again behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnn_jax.arrays.paths import at_path, has_path, replace_at
from rnn_jax.arrays.tokens import check_ids, is_ids
from rnn_jax.jaxprs import spec_of, varying_axes
from rnn_jax.layers.base import adapted
from rnn_jax.training.lazy import Lazy, check_by_rows, inner_of
from rnn_jax.training.objective import draws_words
from rnn_jax.training.rows import (
    Used,
    add_rows,
    gather_rows,
    index_of,
    keep_rows,
    marks_of,
    marks_of_state,
    put_rows,
    reduced,
    used_rows,
)
from rnn_jax.training.sgd import PlainSGD
from rnn_jax.types import Array, Batch, Model, Params

__all__ = ["Begun", "make_begin"]

Finish = Callable[[Params, Params, optax.OptState], tuple[Params, optax.OptState]]


class Begun(NamedTuple):
    """A training step as it begins.

    params, opt_state: with tables reduced to the rows of this step, or whole.
    batch: whose ids count in these tables.
    drawn: the words that the loss reads; None: all.
    finish: from the parameters that were differentiated, their updates and the new state of the
      optimiser to whole parameters and a whole state.
    """

    params: Params
    opt_state: optax.OptState
    batch: Batch
    drawn: Any
    finish: Finish


def make_begin(
    model: Model,
    optimizer: optax.GradientTransformation,
    loss: Callable[..., Array],
    axis_name: str | None,
) -> Callable[[Params, optax.OptState, Batch, Array | None], Begun]:
    """``(params, opt_state, batch, key) -> Begun`` of the steps of an optimiser.

    By `sgd` and `lazy` tables are reduced to the rows that a batch uses. Where devices see batches
    of their own, and JAX is to add up what each does to a table, all rows have a gradient; those
    that no device uses are then kept by `lazy` as they are.
    """
    inner, is_lazy = inner_of(optimizer), isinstance(optimizer, Lazy)
    plain = isinstance(inner, PlainSGD)
    # Where the update of a sum of gradients is the sum of the updates, each id may have a row.
    once = not (isinstance(inner, PlainSGD) and not inner.clipped)
    by_rows = plain or is_lazy
    table = adapted(model).input_table if by_rows else None
    sampled = draws_words(model, loss)

    def begin(params: Params, opt_state: optax.OptState, batch: Batch, key: Array | None) -> Begun:
        drawn = None
        if sampled is not None and sampled.draw is not None and key is not None:
            drawn = sampled.draw(key, batch.targets, batch.mask)
        ids = batch.inputs
        spread = bool(varying_axes(ids)) or any(axes is not None for axes in spec_of(ids))
        whole = spread or axis_name is not None
        reads: list[tuple[list[tuple[str, ...]], Array, Array | None]] = []
        if table is not None and is_ids(ids):
            reads.append(([table], ids, batch.mask))
        if sampled is not None and drawn is not None and by_rows:
            paths = [path for path in sampled.tables if has_path(params, path)]
            reads.append((paths, drawn.ids, drawn.mask))
        if not reads or (whole and not is_lazy):
            return Begun(params, opt_state, batch, drawn, _finish)
        if is_lazy:
            check_by_rows(opt_state, params)
        if whole:
            tables = [
                Used(path, used_rows(ids, mask, at_path(params, path).shape[0], axis_name))
                for paths, ids, mask in reads
                for path in paths
            ]
            return Begun(params, opt_state, batch, drawn, _keep(inner, opt_state, params, tables))
        tables = []
        for paths, ids, mask in reads:
            rows, positions = index_of(ids, mask, once=once)
            tables += [Used(path, rows) for path in paths]
            if ids is batch.inputs:
                check_ids(ids, at_path(params, paths[0]).shape[0], mask)
                batch = batch._replace(inputs=positions)
            elif drawn is not None:
                drawn = drawn._replace(rows=positions)
        marks = marks_of_state(inner, opt_state, params, tables)
        small, state = gather_rows(params, tables), reduced(marks, opt_state)

        def put(
            small: Params, updates: Params, new: optax.OptState
        ) -> tuple[Params, optax.OptState]:
            rest, moved = small, updates
            for path, _ in tables:
                rest, moved = replace_at(rest, path, None), replace_at(moved, path, None)
            changed = optax.apply_updates(rest, moved)
            for path, _ in tables:
                changed = replace_at(changed, path, at_path(params, path))
            return add_rows(changed, tables, updates), put_rows(marks, opt_state, new)

        return Begun(small, state, batch, drawn, put)

    return begin


def _finish(
    params: Params, updates: Params, opt_state: optax.OptState
) -> tuple[Params, optax.OptState]:
    return optax.apply_updates(params, updates), opt_state


def _keep(
    inner: optax.GradientTransformation,
    opt_state: optax.OptState,
    params: Params,
    tables: list[Used],
) -> Finish:
    """As `_finish`, where the tables' rows that are not used stay as they were."""
    marks, of_state = marks_of(params, tables), marks_of_state(inner, opt_state, params, tables)

    def keep(params: Params, updates: Params, new: optax.OptState) -> tuple[Params, optax.OptState]:
        # No sum changes with a negative zero.
        none = jax.tree.map(lambda u: jnp.full_like(u, -0.0), updates)
        changed = optax.apply_updates(params, keep_rows(marks, none, updates))
        return changed, keep_rows(of_state, opt_state, new)

    return keep
