"""A softmax of a few frequent words and of clusters of rarer ones, read out of fewer features."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import fill_masked
from rnn_jax.arrays.products import affine
from rnn_jax.arrays.tokens import as_index
from rnn_jax.cells.initializers import uniform_fan_in
from rnn_jax.host.checks import check_members
from rnn_jax.jaxprs import in_auto_mode, spec_of
from rnn_jax.losses.cluster import cluster_cross_entropy
from rnn_jax.losses.cross_entropy import check_smoothing
from rnn_jax.losses.linear_cross_entropy import check_targets, linear_cross_entropy
from rnn_jax.losses.reduction import Reduction, check_reduction, reduce_loss
from rnn_jax.models.softmax import Drawn, Softmax
from rnn_jax.types import Array, Params

__all__ = ["AdaptiveSoftmax", "adaptive_softmax"]


@dataclass(frozen=True)
class AdaptiveSoftmax(Softmax):
    """Hyperparameters of `adaptive_softmax`."""

    cutoffs: tuple[int, ...]
    factor: float = 4.0

    def __post_init__(self) -> None:
        cutoffs = self.cutoffs
        if not cutoffs or cutoffs[0] < 1 or any(a >= b for a, b in itertools.pairwise(cutoffs)):
            raise ValueError(
                f"cutoffs must be positive and increase, as [2000, 10000], not {list(cutoffs)}"
            )
        number = isinstance(self.factor, int | float) and not isinstance(self.factor, bool)
        if not number or not 1 <= self.factor < math.inf:
            raise ValueError(
                "factor must be a number of at least 1, by which a cluster has fewer features "
                f"than the one before, not {self.factor!r}"
            )

    def check(self, vocab_size: int) -> None:
        """Raise ValueError unless a word is left for the last cluster."""
        if self.cutoffs[-1] >= vocab_size:
            raise ValueError(
                f"cutoffs {list(self.cutoffs)} do not fit a vocabulary of {vocab_size}: the last "
                f"must be below {vocab_size}"
            )

    def init(self, key: Array, features: int, vocab_size: int, *, bias: bool) -> Params:
        """``{"head": {"w", "b"?}, "tails": {"0": {"down", "w"}, …}}``; see `adaptive_softmax`."""
        first, clusters = self.cutoffs[0], len(self.cutoffs)
        head_key, *keys = jax.random.split(key, 1 + clusters)
        head = {"w": uniform_fan_in(head_key, (features, first + clusters))}
        if bias:
            head["b"] = jnp.zeros(first + clusters)
        tails = {}
        for i, (start, stop) in enumerate(itertools.pairwise((*self.cutoffs, vocab_size))):
            down_key, w_key = jax.random.split(keys[i])
            # As PyTorch rounds; it lets the last ones vanish.
            narrow = max(1, int(features // self.factor ** (i + 1)))
            tails[str(i)] = {
                "down": uniform_fan_in(down_key, (features, narrow)),
                "w": uniform_fan_in(w_key, (narrow, stop - start)),
            }
        return {"head": head, "tails": tails}

    def logits(self, params: Params, features: Array) -> Array:
        """``log p``, ``[…, V]``, which is its own log-softmax."""
        check_members(self, params, "head", "tails")
        first = self.cutoffs[0]
        head = jax.nn.log_softmax(affine(features, params["head"]["w"], params["head"].get("b")))
        parts = [head[..., :first]]
        for i in range(len(self.cutoffs)):
            tail = params["tails"][str(i)]
            within = jax.nn.log_softmax(affine(affine(features, tail["down"]), tail["w"]))
            parts.append(head[..., first + i, None] + within)
        return jnp.concatenate(parts, axis=-1)

    def loss(
        self,
        params: Params,
        features: Array,
        targets: Array,
        *,
        mask: Array | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        drawn: Drawn | None = None,
    ) -> Array:
        """`cross_entropy` of `logits`, of each cluster only for the targets that are in it."""
        check_members(self, params, "head", "tails")
        check_smoothing(label_smoothing)
        if label_smoothing:
            raise ValueError(
                f"label_smoothing {label_smoothing:g} gives each word a share, and an "
                "adaptive_softmax computes only those of one cluster: leave it out, or use the "
                "full softmax"
            )
        check_reduction(reduction)
        size = self.cutoffs[-1] + params["tails"][str(len(self.cutoffs) - 1)]["w"].shape[1]
        check_targets(features, targets, mask, size)
        layout = spec_of(targets) if reduction == "none" else ()

        def loss(
            params: Params, features: Array, targets: Array, mask: Array | None
        ) -> tuple[Array]:
            losses = self._losses(params, features, targets, mask, size)
            return (reduce_loss(losses, mask, reduction),)

        (found,) = in_auto_mode(loss, (params, features, targets, mask), (layout,))
        return found

    def _losses(
        self, params: Params, features: Array, targets: Array, mask: Array | None, size: int
    ) -> Array:
        """``[…]``, with zeros where masked."""
        features, index = fill_masked(features, mask), as_index(fill_masked(targets, mask))
        first, head = self.cutoffs[0], params["head"]
        cluster = sum((index >= cutoff).astype(index.dtype) for cutoff in self.cutoffs)
        entry = jnp.where(cluster > 0, first - 1 + cluster, index)
        # No entry of the head: the loss is NaN, as that of all logits.
        entry = jnp.where(index < size, entry, -1)
        losses = linear_cross_entropy(
            features, head["w"], head.get("b"), entry, mask=mask, reduction="none"
        )
        rows, flat = features.reshape(-1, features.shape[-1]), index.reshape(-1)
        for i, (start, stop) in enumerate(itertools.pairwise((*self.cutoffs, size))):
            inside = (flat >= start) & (flat < stop)
            of_tail = cluster_cross_entropy(rows, params["tails"][str(i)], flat - start, inside)
            losses = losses + of_tail.reshape(losses.shape)
        return losses


def adaptive_softmax(cutoffs: Iterable[int], *, factor: float = 4.0) -> AdaptiveSoftmax:
    """An adaptive softmax: frequent words at once, rarer ones by cluster and then within it.

    With cutoffs ``c_0 < … < c_{K-1}`` words below ``c_0`` are in the head, beside one entry for
    each of K clusters; cluster i has the words from ``c_i`` to ``c_{i+1}``, the last to V:

        p(v) = head(h)[v]                                              v < c_0
        p(v) = head(h)[c_0 + i] · tail_i(h)[v - c_i]                   c_i ≤ v < c_{i+1}
        head(h) = softmax(h W + b),   tail_i(h) = softmax(h P_i W_i)

    It is for vocabularies in the order of frequency. The distribution is another one than that of a
    full softmax, of fewer parameters, and exact: there is nothing to correct when it is evaluated.
    A step computes the head for all of its ``N`` targets, and each cluster for ``N/16``, ``N/4`` or
    all of them, whichever is enough for the targets that are in it. ``apply`` and what generates
    give log-probabilities of all words.

    Parameters, ``E_i = max(1, ⌊H / factor^(i+1)⌋)``, uniform in ±1/√fan-in, ``b`` zero:
    ``{"head": {"w": [H, c_0 + K], "b"?: [c_0 + K]}, "tails": {"0": {"down": P_0 [H, E_0],
    "w": W_0 [E_0, c_1 - c_0]}, "1": …}}``. That is PyTorch's ``AdaptiveLogSoftmaxWithLoss`` of
    ``div_value=factor`` and ``head_bias=bias``, transposed.

    Args:
      cutoffs: the number of words in the head, and where each cluster but the first begins.
      factor: by how much the features of a cluster are fewer than those of the one before.

    Returns:
      A read-out for `language_model`.

    Raises:
      ValueError: cutoffs that are no positive integers, do not increase or, in `language_model`, do
        not lie below V; a factor below 1. The loss raises it for label smoothing, whose share of
        every word would take all of them.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> softmax = adaptive_softmax([10, 20], factor=2.0)
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)), readout=softmax)
      >>> params = model.init(jax.random.key(0))
      >>> {name: tail["w"].shape for name, tail in params["readout"]["tails"].items()}
      {'0': (4, 10), '1': (2, 30)}
      >>> _, log_probs = model.apply(params, None, jnp.array([[3], [1], [4]]))
      >>> jnp.allclose(jnp.exp(log_probs).sum(axis=-1), 1).item()
      True

    Reference:
      Grave et al., Efficient softmax approximation for GPUs, ICML 2017.
    """
    try:
        whole = tuple(operator.index(cutoff) for cutoff in cutoffs)
    except TypeError:
        raise ValueError(
            f"cutoffs must be integers in a list, as [2000, 10000], not {cutoffs!r}"
        ) from None
    return AdaptiveSoftmax(whole, factor)
