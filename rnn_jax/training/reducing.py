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
from rnn_jax.training.lazy import Lazy
from rnn_jax.training.objective import draws_words
from rnn_jax.training.rows import (
    Used,
    add_rows,
    gather_rows,
    index_of,
    mark_rows,
    mark_seen,
    merged,
    reduced,
)
from rnn_jax.training.sgd import PlainSGD
from rnn_jax.types import Array, Batch, Model, Params

__all__ = ["Begun", "make_begin"]


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
    finish: Callable[[Params, Params, optax.OptState], tuple[Params, optax.OptState]]


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
    is_lazy = isinstance(optimizer, Lazy)
    inner = optimizer.inner if isinstance(optimizer, Lazy) else optimizer
    plain = isinstance(inner, PlainSGD)
    # The update of a sum of gradients is then the sum of the updates, and has no norm of them all.
    additive = plain and not inner.clipped
    table = adapted(model).input_table if plain or is_lazy else None
    sampled = draws_words(model, loss)

    def begin(params: Params, opt_state: optax.OptState, batch: Batch, key: Array | None) -> Begun:
        ids, mask = batch.inputs, batch.mask
        drawn, tables = None, []
        distributed = bool(varying_axes(ids)) or any(axes is not None for axes in spec_of(ids))
        whole = distributed or axis_name is not None
        once = not additive
        if table is not None and is_ids(ids):
            if not whole:
                check_ids(ids, at_path(params, table).shape[0], mask)
            index, positions = index_of(ids, mask, once=once)
            tables.append(Used(table, index))
            if not whole:
                batch = batch._replace(inputs=positions)
        if sampled is not None and sampled.draw is not None and key is not None:
            drawn = sampled.draw(key, batch.targets, mask)
            if plain or is_lazy:
                index, positions = index_of(drawn.ids, drawn.mask, once=once)
                paths = [path for path in sampled.tables if has_path(params, path)]
                tables += [Used(path, index) for path in paths]
                if not whole:
                    drawn = drawn._replace(rows=positions)
        if not tables or (whole and not is_lazy):
            return Begun(params, opt_state, batch, drawn, _finish)
        if whole:
            seen, marks = mark_seen(inner, opt_state, params, tables, axis_name)

            def keep(
                params: Params, updates: Params, new: optax.OptState
            ) -> tuple[Params, optax.OptState]:
                # No sum changes with a negative zero.
                none = jax.tree.map(lambda u: jnp.full_like(u, -0.0), updates)
                updates = merged(seen, none, updates)
                return optax.apply_updates(params, updates), merged(marks, opt_state, new)

            return Begun(params, opt_state, batch, drawn, keep)
        marks = mark_rows(inner, opt_state, params, tables)

        def put(
            small: Params, updates: Params, new: optax.OptState
        ) -> tuple[Params, optax.OptState]:
            rest, moved = small, updates
            for path, _ in tables:
                rest, moved = replace_at(rest, path, None), replace_at(moved, path, None)
            changed = optax.apply_updates(rest, moved)
            for path, _ in tables:
                changed = replace_at(changed, path, at_path(params, path))
            return add_rows(changed, tables, updates), merged(marks, opt_state, new)

        small, state = gather_rows(params, tables), reduced(marks, opt_state)
        return Begun(small, state, batch, drawn, put)

    return begin


def _finish(
    params: Params, updates: Params, opt_state: optax.OptState
) -> tuple[Params, optax.OptState]:
    return optax.apply_updates(params, updates), opt_state
