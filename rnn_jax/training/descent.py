"""A step of plain gradient descent whose read-out is changed chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from rnn_jax.arrays.paths import at_path, replace_at
from rnn_jax.jaxprs import spec_of
from rnn_jax.layers.base import adapted
from rnn_jax.losses.chunked import suggested_chunk
from rnn_jax.losses.descent import Change, linear_cross_entropy_descent
from rnn_jax.losses.linear_cross_entropy import check_read_out
from rnn_jax.training.checks import mask_of
from rnn_jax.training.forward import forward
from rnn_jax.training.objective import Measured, options_of_features
from rnn_jax.types import Array, Batch, Carry, Model, Params, Share

__all__ = ["Descended", "make_descent"]


class Descended(NamedTuple):
    """Of one batch: all but the update of the read-out.

    grads: of the parameters without the read-out's, in whose place they have None.
    bound: of the gradient of the read-out; see `Descent`.
    place: where in the parameters the read-out stands.
    change: from ``change(old, gradient)`` to a read-out that is changed by it.
    """

    found: Measured
    grads: Params
    bound: Array
    place: tuple[str, ...]
    change: Callable[[Change], Params]


def make_descent(
    model: Model, loss: Callable[..., Array]
) -> Callable[..., Descended | None] | None:
    """``(params, carry, batch, *, key, rows) -> Descended``, or None where logits are few.

    None for a model without a read-out of its own, or another loss than `cross_entropy`.
    """
    apart, given = adapted(model).apart, options_of_features(loss)
    if (
        apart is None
        or apart.path is None
        or apart.read_out is None
        or given is None
        or given.get("reduction") == "none"
    ):
        return None
    features_model: Any = apart.features
    place, matrix_of = apart.path, apart.read_out

    def descend(
        params: Params,
        carry: Carry,
        batch: Batch,
        *,
        key: Array | None,
        rows: Array | int | Share | None,
    ) -> Descended | None:
        w, b, axis = matrix_of(params)
        chunk = suggested_chunk(batch.targets.size, w.shape[1 - axis], w.shape[axis])
        if chunk is None or any(axes is not None for axes in spec_of(batch.targets)):
            return None
        read_out = at_path(params, place)

        def features_of(rest: Params) -> tuple[Array, Carry]:
            whole = replace_at(rest, place, read_out)
            new, features = forward(features_model, whole, carry, batch, key=key, rows=rows)
            return features, new

        rest = replace_at(params, place, None)
        features, pull, new = jax.vjp(features_of, rest, has_aux=True)
        mask = mask_of(features, batch.mask)
        check_read_out(features, w, b, batch.targets, mask, axis, **given)
        descent = linear_cross_entropy_descent(
            features, w, b, batch.targets, mask=mask, chunk=chunk, vocab_axis=axis, **given
        )

        def change(one: Change) -> Params:
            new_w, new_b = descent.change(one)
            return {"w": new_w} if new_b is None else {"w": new_w, "b": new_b}

        (grads,) = pull(descent.features)
        found = Measured(new, features, mask, descent.loss)
        return Descended(found, grads, descent.bound, place, change)

    return descend
