"""Cross-entropy over sequences of logits, with masks, and perplexity."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.arrays.checks import check_array
from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.arrays.tokens import as_index, check_ids, is_ids
from rnn_jax.jaxprs import in_auto_mode, is_traced, spec_of
from rnn_jax.losses.reduction import Reduction, reduce_loss
from rnn_jax.types import Array

__all__ = [
    "Reduction",
    "check_smoothing",
    "cross_entropy",
    "known_ids",
    "losses_of",
    "perplexity",
]


def cross_entropy(
    logits: Array,
    targets: Array,
    *,
    mask: Array | None = None,
    reduction: Reduction = "mean",
    class_weights: Array | None = None,
    label_smoothing: float = 0.0,
) -> Array:
    """Cross-entropy of ``softmax(logits)`` against target ids, in nats.

    ``loss[t, b] = log Σ_v exp(logits[t, b, v]) - logits[t, b, targets[t, b]]``

    With class weights ``w`` that of a step is multiplied by ``w[targets[t, b]]``, and the mean is
    ``Σ w loss / Σ w`` over the valid steps, as PyTorch's.

    Label smoothing ``ε`` takes the share ``ε`` from the target and gives it to all classes alike:

        loss[t, b] = (1 - ε) w[target] nll[target] + ε/V Σ_v w[v] nll[v]

    with ``nll[v] = log Σ_u exp(logits[t, b, u]) - logits[t, b, v]``; the mean is still over
    ``Σ w[target]``. That is PyTorch's definition and, without weights, optax's. A class that the
    logits forbid, by -∞, gets no share, and V counts the others only.

    Args:
      logits: ``float[T, B, V]`` (any leading shape); converted to at least float32.
      targets: ``int[T, B]``; the values at masked steps are not read.
      mask: ``bool[T, B]``; masked steps count neither in the sum nor in the mean.
      reduction: "mean" over valid steps (0 if there is none, or none whose target has a weight),
        "sum", or "none": ``[T, B]`` with zeros at masked steps.
      class_weights: ``float[V]``, how much a target of each class counts; None: all alike.
      label_smoothing: ``ε`` in ``[0, 1]``, for training. Evaluate without it: `make_evaluate` has a
        loss of its own, and `perplexity` is only that of the loss without it.

    Returns:
      A scalar, or ``float[T, B]``.

    Raises:
      ValueError: these are no arrays, or complex; the shapes do not fit, the reduction is unknown,
        a class weight is negative or not finite, the label smoothing lies outside, or a target lies
        outside the vocabulary (under jit the loss of such a step is NaN instead, and so is its
        gradient).

    Example:
      >>> import jax.numpy as jnp
      >>> loss = cross_entropy(jnp.zeros((5, 8000)), jnp.arange(5))
      >>> print(f"{loss:.3f}")  # ln 8000
      8.987

    Reference:
      Label smoothing: Szegedy et al., Rethinking the Inception architecture for computer vision,
      CVPR 2016.
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
    if class_weights is not None:
        class_weights = _checked(class_weights, logits.shape[-1])
    check_smoothing(label_smoothing)
    losses = partial(_cross_entropy, reduction=reduction, smoothing=label_smoothing)
    layout = spec_of(targets) if reduction == "none" else ()
    (loss,) = in_auto_mode(losses, (logits, targets, mask, class_weights), (layout,))
    return loss


def check_smoothing(label_smoothing: float) -> None:
    """Raise ValueError unless it is a share."""
    if not isinstance(label_smoothing, int | float) or not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1], not {label_smoothing!r}")


def _checked(class_weights: Array, classes: int) -> Array:
    weights = jnp.asarray(class_weights)
    if weights.shape != (classes,) or jnp.issubdtype(weights.dtype, jnp.complexfloating):
        raise ValueError(
            f"class_weights of shape {weights.shape} and dtype {weights.dtype} do not fit "
            f"{classes} classes: pass float[{classes}], a weight a class"
        )
    if not is_traced(weights):
        values = np.asarray(weights)
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ValueError(
                f"class_weights must be finite and at least 0, not {values}: give a class that is "
                "not to count the weight 0"
            )
    return weights


def _cross_entropy(
    logits: Array,
    targets: Array,
    mask: Array | None,
    class_weights: Array | None,
    *,
    reduction: Reduction,
    smoothing: float,
) -> tuple[Array]:
    logits = jnp.asarray(logits)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    logits, targets = fill_masked(logits, mask), fill_masked(targets, mask)
    wanted, known = known_ids(targets, logits.shape[-1])
    picked = jnp.take_along_axis(logits, wanted[..., None], axis=-1)[..., 0]
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    losses = losses_of(normalizer, picked, known)
    if class_weights is not None:
        class_weights = class_weights.astype(logits.dtype)
    weights = None if class_weights is None else class_weights[wanted]
    if weights is not None:
        losses = weights * losses
    if smoothing:
        evenly = _over_all_classes(logits, normalizer, class_weights)
        losses = (1 - smoothing) * losses + smoothing * evenly
    return (reduce_loss(losses, mask, reduction, weights),)


def known_ids(targets: Array, size: int) -> tuple[Array, Array]:
    """Targets as indices, those outside a vocabulary 0, and which of them are inside."""
    index = as_index(targets)
    known = (index >= 0) & (index < size)
    return jnp.where(known, index, 0), known


def losses_of(normalizer: Array, picked: Array, known: Array) -> Array:
    """Of each target, from the normaliser and its logit; NaN where it is not known."""
    # A factor and not a term: the gradient of an unknown target must be NaN like its loss.
    return jnp.where(known, 1, jnp.nan).astype(normalizer.dtype) * normalizer - picked


def _over_all_classes(logits: Array, normalizer: Array, class_weights: Array | None) -> Array:
    """``1/V Σ_v w[v] nll[v]`` over the classes whose logit is not -∞."""
    allowed = logits != -jnp.inf
    # Chosen before the difference: in a backward pass 0 * ∞ is NaN.
    each = normalizer[..., None] - jnp.where(allowed, logits, normalizer[..., None])
    if class_weights is not None:
        each = class_weights.reshape((1,) * (each.ndim - 1) + (-1,)) * each
    return each.sum(axis=-1) / jnp.maximum(allowed.sum(axis=-1), 1).astype(logits.dtype)


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
