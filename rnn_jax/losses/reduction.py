"""Losses of steps to one number, or to one for each step."""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp

from rnn_jax.arrays.masking import fill_masked
from rnn_jax.types import Array

__all__ = ["Reduction", "check_reduction", "reduce_loss"]

Reduction = Literal["mean", "sum", "none"]


def check_reduction(reduction: Any) -> None:
    """Raise ValueError unless it is one of the three."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")


def reduce_loss(
    losses: Array, mask: Array | None, reduction: Reduction, weights: Array | None = None
) -> Array:
    """Sum or mean of ``losses [T, B]`` over the valid steps, or the losses with zeros elsewhere.

    The mean is over as many steps as count. Where the losses have been multiplied by weights, it is
    over the sum of ``weights [T, B]``, and 0 where that is 0.
    """
    check_reduction(reduction)
    losses = fill_masked(losses, mask)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if weights is None:
        count = losses.size if mask is None else mask.sum()
        return losses.sum() / jnp.maximum(count, 1).astype(losses.dtype)
    total = fill_masked(weights, mask).sum()
    # The factor, because with label smoothing the loss of a target of weight 0 is not 0.
    return losses.sum() * (total > 0) / jnp.where(total > 0, total, jnp.ones_like(total))
