"""Sampled softmax: a training step reads its targets and some words drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.arrays.products import affine
from rnn_jax.arrays.tokens import as_index, check_ids, is_ids, look_up
from rnn_jax.cells.initializers import uniform_fan_in
from rnn_jax.host.checks import check_members, positive
from rnn_jax.jaxprs import in_auto_mode, spec_of
from rnn_jax.losses.cross_entropy import check_smoothing
from rnn_jax.losses.linear_cross_entropy import linear_cross_entropy
from rnn_jax.losses.reduction import Reduction, reduce_loss
from rnn_jax.models.softmax import Drawn, Softmax
from rnn_jax.types import Array, Params, state_dtype

__all__ = ["SampledSoftmax", "log_uniform", "log_uniform_probability", "sampled_softmax"]

# Apart from the noise of layers, which is drawn from the same key.
_OWN = 0x5F37
_EPS = 2.0**-23  # of float32


@dataclass(frozen=True)
class SampledSoftmax(Softmax):
    """Hyperparameters of `sampled_softmax`."""

    samples: int

    def __post_init__(self) -> None:
        positive(samples=self.samples)

    @property
    def tables(self) -> tuple[str, ...]:
        """The matrix and, where there is one, the bias."""
        return ("w", "b")

    @property
    def noise(self) -> str | None:
        """The words."""
        return f"sampled_softmax({self.samples})"

    def check(self, vocab_size: int) -> None:
        """Raise ValueError where there are more samples than words."""
        if self.samples > vocab_size:
            raise ValueError(
                f"sampled_softmax({self.samples}) draws more words than the {vocab_size} of the "
                "vocabulary: draw fewer, or leave it out"
            )

    def init(self, key: Array, features: int, vocab_size: int, *, bias: bool) -> Params:
        """``{"w": [V, H], "b"?: [V]}``; ``w`` uniform in ±1/√H, ``b`` zero."""
        params = {"w": uniform_fan_in(key, (features, vocab_size)).T}
        return {**params, "b": jnp.zeros(vocab_size)} if bias else params

    def logits(self, params: Params, features: Array) -> Array:
        """``features Wᵀ + b``, of all words."""
        return affine(features, params["w"], params.get("b"), transposed=True)

    def draw(self, key: Array, targets: Array, mask: Array | None, vocab_size: int) -> Drawn:
        """The targets, and the samples behind them."""
        if not is_ids(targets):
            raise ValueError(f"targets must be token ids, integers, not {targets.dtype}")
        check_mask(mask, targets.shape)
        check_ids(targets, vocab_size, mask, what="target")
        samples = log_uniform(jax.random.fold_in(key, _OWN), self.samples, vocab_size)
        chance = log_uniform_probability(samples, vocab_size)

        def together(
            targets: Array, mask: Array | None, samples: Array
        ) -> tuple[Array, Array | None]:
            wanted = as_index(fill_masked(targets, mask)).reshape(-1)
            ids = jnp.concatenate([wanted, samples.astype(wanted.dtype)])
            return ids, None if mask is None else jnp.append(mask, jnp.ones(self.samples, bool))

        ids, valid = in_auto_mode(together, (targets, mask, samples), ((None,), (None,)))
        return Drawn(ids, ids, valid, jnp.log(self.samples * chance))

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
        """The cross-entropy over all words or, in training, over the words drawn."""
        check_members(self, params, "w")
        w, b = params["w"], params.get("b")
        if drawn is None:
            return linear_cross_entropy(
                features, w, b, targets, mask=mask, reduction=reduction, vocab_axis=0,
                label_smoothing=label_smoothing,
            )  # fmt: skip
        if label_smoothing:
            check_smoothing(label_smoothing)
            raise ValueError(
                "label smoothing is over all words, of which sampled_softmax reads a few: leave "
                "out one of the two"
            )
        if targets.shape != features.shape[:-1]:
            raise ValueError(
                f"targets of shape {targets.shape} do not fit features of shape {features.shape}: "
                "targets must have the features' shape without its last axis"
            )
        if features.shape[-1] != w.shape[1]:
            raise ValueError(
                f"features of shape {features.shape} do not fit w of shape {w.shape}, a row a "
                f"word: their last axis must be of {w.shape[1]}"
            )
        layout = spec_of(targets) if reduction == "none" else ()
        (found,) = in_auto_mode(
            partial(_of_drawn, reduction), (w, b, features, targets, mask, drawn), (layout,)
        )
        return found


def _of_drawn(
    reduction: Reduction,
    w: Array,
    b: Array | None,
    features: Array,
    targets: Array,
    mask: Array | None,
    drawn: Drawn,
) -> tuple[Array]:
    dtype = state_dtype(w.dtype)
    rows = fill_masked(features, mask).reshape(-1, features.shape[-1])
    count = rows.shape[0]
    own, others = drawn.rows[:count], drawn.rows[count:]
    picked = (rows.astype(dtype) * look_up(w, own).astype(dtype)).sum(-1)
    scores = affine(rows, look_up(w, others), transposed=True).astype(dtype)
    if b is not None:
        picked = picked + look_up(b, own)
        scores = scores + look_up(b, others)[None]
    # Each stands for as many words as one sample in this place was expected to; the target,
    # which is there by itself, must not be there twice.
    scores = scores - drawn.log_expected.astype(dtype)[None]
    twice = drawn.ids[:count, None] == drawn.ids[None, count:]
    scores = jnp.where(twice, -jnp.inf, scores)
    normalizer = jnp.logaddexp(picked, jax.nn.logsumexp(scores, axis=-1))
    return (reduce_loss((normalizer - picked).reshape(targets.shape), mask, reduction),)


def log_uniform_probability(ids: Array, vocab_size: int) -> Array:
    """``P(k) = log((k + 2) / (k + 1)) / log(V + 1)``."""
    k = ids.astype(jnp.float32)
    return jnp.log1p(1 / (k + 1)) / jnp.log(jnp.float32(vocab_size + 1))


def log_uniform(key: Array, count: int, vocab_size: int) -> Array:
    """``int[count]`` words, each drawn by itself with `log_uniform_probability`."""
    coarse, fine = jax.random.uniform(key, (2, count), jnp.float32)
    log_size = jnp.log(jnp.float32(vocab_size + 1))
    # A random float32 has 23 bits, which are few for the rare ones of many words: 23 more.
    spread = 1 + fine * log_size * _EPS
    drawn = jnp.floor(jnp.exp(coarse * log_size) * spread).astype(jnp.int32) - 1
    return jnp.clip(drawn, 0, vocab_size - 1)


def sampled_softmax(samples: int) -> SampledSoftmax:
    """A read-out that trains on its targets and a sample of the other words.

    A training step draws ``samples`` words ``k_j``, the same for all of a batch, with
    ``P(k) = log((k+2)/(k+1)) / log(V+1)`` (log-uniform: by Zipf's law, where words are numbered
    from the most frequent on), and minimises

        loss = log(e^{s_y} + Σ_{j: k_j ≠ y} e^{s_{k_j}} / (S P(k_j))) - s_y

    with ``s_k = h·w_k + b_k`` and the target ``y``. The sum in the logarithm has the full
    softmax's as its expectation; the loss itself, a logarithm of it, is smaller by a bias that
    falls with ``1/S``. Only the rows of these words are read, and by `sgd` or `lazy` only they are
    written: a step does not depend on V.

    Whatever is no training step uses the softmax of all words, exactly: ``apply``, evaluation and
    perplexity, generation, training without noise; so does training by a loss of your own.

    Parameters: ``{"w": [V, H], "b": [V]}``, a row a word.

    Args:
      samples: ``S``, at most ``V``.

    Returns:
      For ``language_model(…, readout=…)``. Its training steps need a key.

    Raises:
      ValueError: ``samples`` is not positive, or exceeds the vocabulary. By a step: there is label
        smoothing.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> layer = rnn_jax.recurrent(rnn_jax.gru(8))
      >>> model = rnn_jax.language_model(
      ...     50_000, layer, embedding_size=8, readout=sampled_softmax(100))
      >>> optimizer = rnn_jax.sgd(0.1)
      >>> state = rnn_jax.init_train_state(model, optimizer, model.init(jax.random.key(0)))
      >>> step = jax.jit(rnn_jax.make_train_step(model, optimizer), donate_argnums=0)
      >>> tokens = jnp.arange(12).reshape(6, 2)
      >>> state, metrics = step(
      ...     state, rnn_jax.Batch(tokens[:-1], tokens[1:]), key=jax.random.key(1))
      >>> bool(9 < metrics["loss"] < 12)  # ln 50,000 is 10.8
      True

    Reference:
      Bengio and Senécal, Adaptive importance sampling to accelerate training of a neural
      probabilistic language model, IEEE Trans. Neural Networks 19 (4), 2008; Jean et al., On using
      very large target vocabulary for neural machine translation, ACL 2015.
    """
    return SampledSoftmax(samples)
