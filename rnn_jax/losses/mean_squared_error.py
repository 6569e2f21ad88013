"""The mean squared error over sequences of numbers, with masks."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp

from rnn_jax.arrays.checks import check_array
from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.jaxprs import in_auto_mode, spec_of
from rnn_jax.losses.reduction import Reduction, reduce_loss
from rnn_jax.types import Array, state_dtype

__all__ = ["mean_squared_error"]


def mean_squared_error(
    predictions: Array, targets: Array, *, mask: Array | None = None, reduction: Reduction = "mean"
) -> Array:
    """The squared error, as a mean over features and valid steps.

    ``loss[t, b] = 1/C Σ_c (predictions[t, b, c] - targets[t, b, c])²``

    Args:
      predictions: ``float[T, B, C]`` (any leading shape); converted to at least float32.
      targets: ``float[T, B, C]``; the values at masked steps are not read.
      mask: ``bool[T, B]``; masked steps count neither in the sum nor in the mean.
      reduction: "mean" over valid steps (0 if there is none), "sum" over them, or "none":
        ``[T, B]`` with zeros at masked steps. All three of the mean over features.

    Returns:
      A scalar, or ``float[T, B]``.

    Raises:
      ValueError: the shapes differ, something is not real, or the reduction is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> mask = jnp.array([[True, True], [True, False]])
      >>> targets = jnp.array([[[1.0], [0.0]], [[2.0], [jnp.nan]]])  # [T, B, 1]
      >>> print(f"{mean_squared_error(jnp.zeros((2, 2, 1)), targets, mask=mask):.3f}")  # 5/3
      1.667
    """
    check_array("the predictions", predictions, "float[T, B, C]")
    check_array("the targets", targets, "float[T, B, C]")
    if not predictions.ndim or predictions.shape != targets.shape:
        raise ValueError(
            f"targets of shape {targets.shape} do not fit predictions of shape "
            f"{predictions.shape}: both must be float[T, B, C] (of one value a step, [T, B, 1])"
        )
    steps = predictions.shape[:-1]
    check_mask(mask, steps)
    losses = partial(_squared_error, reduction=reduction)
    layout = spec_of(predictions)[: len(steps)] if reduction == "none" else ()
    (loss,) = in_auto_mode(losses, (predictions, jnp.asarray(targets), mask), (layout,))
    return loss


def _squared_error(
    predictions: Array, targets: Array, mask: Array | None, *, reduction: Reduction
) -> tuple[Array]:
    dtype = state_dtype(predictions.dtype)
    # Before the difference: in a backward pass 0 * NaN is NaN.
    wanted, given = (fill_masked(a.astype(dtype), mask) for a in (targets, predictions))
    return (reduce_loss(((given - wanted) ** 2).mean(axis=-1), mask, reduction),)
