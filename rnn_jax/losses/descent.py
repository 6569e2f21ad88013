"""The loss of a linear read-out together with the descent of its matrix, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import fill_masked
from rnn_jax.losses.chunked import How, Statistics, pulled, sweep, sweep_back
from rnn_jax.losses.linear_cross_entropy import read_of, total
from rnn_jax.losses.reduction import Reduction
from rnn_jax.types import Array

__all__ = ["Change", "Descent", "linear_cross_entropy_descent"]

Change = Callable[[Array, Array], Array]


class Descent(NamedTuple):
    """A loss, and what a step makes of it.

    features: its gradient in the features.
    bound: what no entry of its gradient in matrix and bias exceeds; NaN or ∞ where one may be.
    change: from ``change(old, gradient)``, entry by entry, to the new matrix and bias. Of the
      gradient no more than a chunk is ever held; an old matrix that is given away is changed where
      it stands.
    """

    loss: Array
    features: Array
    bound: Array
    change: Callable[[Change], tuple[Array, Array | None]]


def linear_cross_entropy_descent(
    features: Array,
    w: Array,
    b: Array | None,
    targets: Array,
    *,
    mask: Array | None,
    chunk: int,
    vocab_axis: int,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Descent:
    """`linear_cross_entropy` and its gradients, for one step of plain gradient descent.

    It takes the products that loss and gradients take; the change itself costs none. The arguments
    are those of `linear_cross_entropy`, checked by the caller, with a reduction to a scalar.
    """
    how = How(min(chunk, w.shape[vocab_axis]), vocab_axis, mean=bool(label_smoothing))
    read, known = read_of(how, fill_masked(features, mask), w, b, targets, mask)
    found, columns = sweep(how, read)

    def loss(found: Statistics) -> Array:
        return total(found, known, mask, reduction, label_smoothing)

    value, cotangents = jax.value_and_grad(loss)(found)
    weights: Any = sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(cotangents))
    largest = jnp.abs(read.rows).max(initial=1).astype(value.dtype)

    def change(one: Change) -> tuple[Array, Array | None]:
        return sweep_back(how, read, found.normalizer, columns.words, cotangents, one)

    rows = pulled(columns, cotangents).reshape(features.shape).astype(features.dtype)
    return Descent(value, rows, weights * largest, change)
