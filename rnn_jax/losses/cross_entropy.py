"""Cross-entropy over sequences of logits, with masks, and perplexity."""

from __future__ import annotations

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from rnn_jax.arrays.checks import check_array
from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.arrays.tokens import as_index, check_ids, is_ids
from rnn_jax.jaxprs import in_auto_mode, spec_of
from rnn_jax.types import Array

__all__ = ["Reduction", "cross_entropy", "perplexity", "reduce_loss"]

Reduction = Literal["mean", "sum", "none"]


def cross_entropy(
    logits: Array, targets: Array, *, mask: Array | None = None, reduction: Reduction = "mean"
) -> Array:
    """Cross-entropy of ``softmax(logits)`` against target ids, in nats.

    ``loss[t, b] = log Σ_v exp(logits[t, b, v]) - logits[t, b, targets[t, b]]``

    Args:
      logits: ``float[T, B, V]`` (any leading shape); converted to at least float32.
      targets: ``int[T, B]``; the values at masked steps are not read.
      mask: ``bool[T, B]``; masked steps count neither in the sum nor in the mean.
      reduction: "mean" over valid steps (0 if there is none), "sum", or "none": ``[T, B]`` with
        zeros at masked steps.

    Returns:
      A scalar, or ``float[T, B]``.

    Raises:
      ValueError: these are no arrays, or complex; the shapes do not fit, the reduction is unknown,
        or a target lies outside the vocabulary (under jit the loss of such a step is NaN instead,
        and so is its gradient).

    Example:
      >>> import jax.numpy as jnp
      >>> loss = cross_entropy(jnp.zeros((5, 8000)), jnp.arange(5))
      >>> print(f"{loss:.3f}")  # ln 8000
      8.987
    """
    check_array("the logits", logits, "float[T, B, V]")
    check_array("the targets", targets, "int[T, B]")
    if not logits.ndim or logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets of shape {targets.shape} do not fit logits of shape {logits.shape}: "
            "targets must have the logits' shape without its last axis"
        )
    if not is_ids(targets):
        raise ValueError(f"targets must be token ids, integers, not {targets.dtype}")
    check_mask(mask, targets.shape)
    check_ids(targets, logits.shape[-1], mask, what="target")
    losses = partial(_cross_entropy, reduction=reduction)
    layout = spec_of(targets) if reduction == "none" else ()
    (loss,) = in_auto_mode(losses, (logits, targets, mask), (layout,))
    return loss


def _cross_entropy(
    logits: Array, targets: Array, mask: Array | None, *, reduction: Reduction
) -> tuple[Array]:
    logits = jnp.asarray(logits)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    logits, targets = fill_masked(logits, mask), as_index(fill_masked(targets, mask))
    known = (targets >= 0) & (targets < logits.shape[-1])
    wanted = jnp.where(known, targets, 0)
    picked = jnp.take_along_axis(logits, wanted[..., None], axis=-1)[..., 0]
    # A factor and not a term: the gradient of an unknown target must be NaN like its loss.
    one = jnp.where(known, 1, jnp.nan).astype(logits.dtype)
    return (reduce_loss(one * jax.nn.logsumexp(logits, axis=-1) - picked, mask, reduction),)


def reduce_loss(losses: Array, mask: Array | None, reduction: Reduction) -> Array:
    """Sum or mean of ``losses [T, B]`` over the valid steps, or the losses with zeros elsewhere."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    losses = fill_masked(losses, mask)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    count = losses.size if mask is None else mask.sum()
    return losses.sum() / jnp.maximum(count, 1).astype(losses.dtype)


def perplexity(loss: Array | float) -> Array:
    """``exp(loss)`` of a mean cross-entropy in nats: the effective number of choices per step.

    Example:
      >>> import math
      >>> print(f"{perplexity(math.log(50)):.1f}")
      50.0
    """
    if not isinstance(loss, int | float):
        check_array("the loss", loss, "float[]")
    return jnp.exp(jnp.asarray(loss))
