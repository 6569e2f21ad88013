"""Cross-entropy of a linear read-out whose logits are never held."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp

from rnn_jax.arrays.checks import check_array
from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.arrays.products import affine
from rnn_jax.arrays.tokens import check_ids, is_ids
from rnn_jax.host.checks import positive
from rnn_jax.jaxprs import in_auto_mode, spec_of, vary_alike
from rnn_jax.losses.chunked import How, ReadOut, Statistics, statistics, suggested_chunk
from rnn_jax.losses.cross_entropy import check_smoothing, cross_entropy, known_ids, losses_of
from rnn_jax.losses.reduction import Reduction, check_reduction, reduce_loss
from rnn_jax.types import Array

__all__ = ["check_read_out", "check_targets", "linear_cross_entropy", "read_of", "total"]


def linear_cross_entropy(
    features: Array,
    w: Array,
    b: Array | None,
    targets: Array,
    *,
    mask: Array | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    chunk: int | None = None,
    vocab_axis: int = 1,
) -> Array:
    """Cross-entropy of ``softmax(features W + b)``, without an array of all logits.

    ``cross_entropy(features @ w + b, targets)`` in value and gradients, to rounding. It goes over
    the vocabulary in chunks: once for the normaliser ``log Σ_v exp(logits[v])``, by a running
    maximum and sum, and once more in the backward pass, which computes each chunk's logits again
    and uses their probabilities while they are in the cache. That is a fourth product where the
    plain form has three, and in return nothing of the size ``T·B·V`` is ever written or read.

    Args:
      features: ``float[T, B, H]``, any leading shape; what a read-out reads.
      w: ``float[H, V]``; of 16 bits, products are of 16 bits and sums of float32.
      b: ``float[V]``, or None.
      targets: ``int[T, B]``; the values at masked steps are not read.
      mask: ``bool[T, B]``; masked steps, NaN in them included, reach neither value nor gradients.
      reduction: "mean" over valid steps, "sum", or "none": ``[T, B]`` with zeros at masked steps.
      label_smoothing: ``ε`` in ``[0, 1]``; see `cross_entropy`.
      chunk: how many words of the vocabulary at a time; it need not divide ``V``. None: the logits
        at once where they fit a cache, as `cross_entropy` has them, and otherwise the size that
        was fastest on a CPU; ``rnn_jax.losses.chunked.suggested_chunk`` says which.
      vocab_axis: the axis of ``w`` along which the vocabulary lies: 0 for ``float[V, H]``, such as
        the table of an embedding that a model is tied to, which is then used without a transposed
        copy.

    Returns:
      A scalar, or ``float[T, B]``.

    Raises:
      ValueError: shapes that do not fit, targets that are no integers or lie outside the vocabulary
        (under jit the loss of such a step is NaN instead, and so is its gradient), a chunk below
        one, a smoothing outside [0, 1], an unknown reduction. Derivatives begin with reverse mode:
        ``jax.jvp`` of the loss itself raises it; ``jacfwd(grad(…))`` and ``grad`` of ``grad`` work.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> features, w, b = jnp.ones((7, 2, 4)), jnp.zeros((4, 8000)), jnp.zeros(8000)
      >>> loss = linear_cross_entropy(features, w, b, jnp.full((7, 2), 3), chunk=1000)
      >>> print(f"{loss:.3f}")  # ln 8000
      8.987

    Reference:
      Milakov and Gimelshein, Online normalizer calculation for softmax, arXiv:1805.02867; Wijmans
      et al., Cut your losses in large-vocabulary language models, ICLR 2025.
    """
    size = check_read_out(
        features,
        w,
        b,
        targets,
        mask,
        vocab_axis,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    if chunk is None:
        chunk = suggested_chunk(targets.size, features.shape[-1], size)
    else:
        positive(chunk=chunk)
    features = fill_masked(features, mask)
    if chunk is None:
        logits = affine(features, w, b, transposed=not vocab_axis)
        return cross_entropy(
            logits, targets, mask=mask, reduction=reduction, label_smoothing=label_smoothing
        )
    how = How(min(chunk, size), vocab_axis, mean=bool(label_smoothing))
    losses = partial(_losses, how, reduction=reduction, smoothing=label_smoothing)
    layout = spec_of(targets) if reduction == "none" else ()
    (loss,) = in_auto_mode(losses, (features, w, b, targets, mask), (layout,))
    return loss


def check_read_out(
    features: Array,
    w: Array,
    b: Array | None,
    targets: Array,
    mask: Array | None,
    vocab_axis: int,
    *,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> int:
    """``V``, of arguments of `linear_cross_entropy` that fit each other; else a ValueError."""
    check_smoothing(label_smoothing)
    check_reduction(reduction)
    check_array("the features", features, "float[T, B, H]")
    check_array("the matrix w", w, "float[H, V]")
    if vocab_axis not in (0, 1):
        raise ValueError(
            f"vocab_axis must be 1, for w of [H, V], or 0, for [V, H], not {vocab_axis!r}"
        )
    if w.ndim != 2 or not w.shape[vocab_axis]:
        raise ValueError(f"w of shape {w.shape} is no matrix [H, V] with a word: pass one")
    size, width = w.shape[vocab_axis], w.shape[1 - vocab_axis]
    if not features.ndim or features.shape[-1] != width:
        axes = "[H, V]" if vocab_axis else "[V, H]"
        raise ValueError(
            f"features of shape {features.shape} do not fit w of shape {w.shape}, read as {axes}: "
            f"their last axis must be of {width}"
        )
    if b is not None:
        check_array("the bias b", b, "float[V]")
        if b.shape != (size,):
            raise ValueError(f"a bias of shape {b.shape} does not fit {size} words: pass [{size}]")
    check_targets(features, targets, mask, size)
    return size


def check_targets(features: Array, targets: Array, mask: Array | None, size: int) -> None:
    """Raise ValueError unless these are targets of the features, in a vocabulary of ``size``."""
    check_array("the features", features, "float[T, B, H]")
    check_array("the targets", targets, "int[T, B]")
    if targets.shape != features.shape[:-1]:
        raise ValueError(
            f"targets of shape {targets.shape} do not fit features of shape {features.shape}: "
            "targets must have the features' shape without its last axis"
        )
    if not is_ids(targets):
        raise ValueError(f"targets must be token ids, integers, not {targets.dtype}")
    check_mask(mask, targets.shape)
    check_ids(targets, size, mask, what="target")


def _losses(
    how: How,
    features: Array,
    w: Array,
    b: Array | None,
    targets: Array,
    mask: Array | None,
    *,
    reduction: Reduction,
    smoothing: float,
) -> tuple[Array]:
    read, known = read_of(how, features, w, b, targets, mask)
    return (total(statistics(how, read), known, mask, reduction, smoothing),)


def read_of(
    how: How, features: Array, w: Array, b: Array | None, targets: Array, mask: Array | None
) -> tuple[ReadOut, Array]:
    """What a sweep reads, and which targets ``[T, B]`` are in the vocabulary."""
    wanted, known = known_ids(fill_masked(targets, mask), w.shape[how.vocab_axis])
    rows = features.reshape(-1, features.shape[-1]).astype(w.dtype)
    read: ReadOut = vary_alike(ReadOut(rows, w, b, wanted.reshape(-1).astype(jnp.int32)))
    return read, known


def total(
    found: Statistics, known: Array, mask: Array | None, reduction: Reduction, smoothing: float
) -> Array:
    """The loss, from the statistics ``[N]`` of the logits of each target."""
    losses = losses_of(found.normalizer, found.picked, known.reshape(-1))
    if found.mean is not None:
        losses = (1 - smoothing) * losses + smoothing * (found.normalizer - found.mean)
    return reduce_loss(losses.reshape(known.shape), mask, reduction)
