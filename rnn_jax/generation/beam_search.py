"""Beam search: the most probable continuations instead of sampled ones."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import expand
from rnn_jax.generation.allowed import Allowed, allowed_tokens
from rnn_jax.generation.drawn import NO_TOKEN, check_drawn
from rnn_jax.generation.prefix import check_prefix, read_prefix
from rnn_jax.host.checks import not_negative, positive
from rnn_jax.jaxprs import in_auto_mode, spec_of, vary_over, varying_axes
from rnn_jax.types import Array, Carry, Model, Params

__all__ = ["beam_search"]


def beam_search(
    model: Model,
    params: Params,
    carry: Carry,
    prefix: Array,
    *,
    beams: int,
    length: int,
    stop: int | None = None,
    length_penalty: float = 0.0,
    mask: Array | None = None,
    forbidden: tuple[int, ...] = (),
    min_length: int = 0,
) -> tuple[Array, Array]:
    """The ``beams`` highest-scoring continuations of ``prefix`` that a beam search finds.

    A continuation ``y`` ends with the stop token or has ``length`` tokens without one. Its score is
    ``log P(y | prefix) / ((5 + |y|) / 6)^length_penalty``, where ``|y|`` includes the stop token.
    At every step, the ``beams`` most probable unfinished continuations are extended, and the
    ``beams`` finished ones with the best scores are kept as well. With as many beams as there are
    continuations, the search is exhaustive; with one beam, it is greedy among the unfinished.

    Forbidden tokens, and the stop token before ``min_length``, are left out; probabilities stay
    those of the model and are not renormalised. The search is compiled as a whole for the given
    shapes.

    Args:
      model: a causal `Model`; an `encoder_decoder` continues from the carry of its ``encode``.
      params: its parameters.
      carry: the carry before the prefix, or None.
      prefix: ``int[P, B]`` or ``int[P]``, at least one token per row.
      beams: ``K``, how many continuations are kept and returned.
      length: ``L``, the largest number of tokens of a continuation.
      stop: a token that ends a continuation.
      length_penalty: 0 ranks by probability alone, which favours short continuations; 1 ranks
        roughly by the mean log-probability of a token; values in between are usual.
      mask: ``bool[P, B]``, for prefixes of unequal length.
      forbidden: tokens left out.
      min_length: the least number of tokens before the stop token.

    Returns:
      The tokens ``int[L, B, K]``, from the best continuation to the worst, with the stop token
      repeated after its end; and their scores ``float[B, K]``. Where there are fewer than ``K``,
      scores are ``-inf`` and tokens -1; under jit, scores are NaN and tokens -1 where logits are
      NaN or infinite.

    Raises:
      ValueError: as `generate`; or a ``length_penalty`` that is negative or not finite. Or a row
        has no continuation: logits are NaN or infinite, or ``-inf`` for every allowed token.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> params = model.init(jax.random.key(0))
      >>> prefix = jnp.zeros((1, 3), int)
      >>> tokens, scores = beam_search(model, params, None, prefix, beams=4, length=7, stop=0)
      >>> tokens.shape, scores.shape  # the best: tokens[..., 0]
      ((7, 3, 4), (3, 4))

    Reference:
      Wu et al., Google's neural machine translation system, arXiv:1609.08144 (2016), equation 14,
      without its coverage penalty.
    """
    positive(beams=beams)
    not_negative(length=length)
    if not (math.isfinite(length_penalty) and length_penalty >= 0):
        raise ValueError(f"length_penalty must be finite and at least 0, not {length_penalty}")
    allowed = allowed_tokens(model.output_size, length, forbidden, stop, min_length)
    prefix = check_prefix(model, prefix, mask)
    run = partial(_run, model, allowed, beams, length)
    arguments = params, carry, prefix, mask, jax.device_put(float(length_penalty))
    rows = spec_of(prefix)[1:]
    result: tuple[Array, Array] = in_auto_mode(run, arguments, ((None, *rows), rows))
    check_drawn(result[0], best=True)
    return result


class _Live(NamedTuple):
    """Unfinished continuations: ``logits [B, K, V]``, ``total [B, K]``, ``tokens [L, B, K]``."""

    carry: Carry
    logits: Array
    total: Array
    tokens: Array


class _Finished(NamedTuple):
    """Finished continuations, best first: ``tokens [L, B, K]``, ``scores [B, K]``."""

    tokens: Array
    scores: Array

    def best(self, tokens: Array, scores: Array) -> _Finished:
        """The best of these and others, as many as there are of these."""
        scores = jnp.concatenate([self.scores, scores], -1)
        scores, places = lax.top_k(scores, self.scores.shape[-1])
        return _Finished(_pick(jnp.concatenate([self.tokens, tokens], -1), places, -1), scores)


def _pick(leaf: Array, places: Array, axis: int) -> Array:
    """The beams ``places [B, K]`` of a leaf, beams along ``axis``."""
    index = places[None] if axis == -1 else expand(places, leaf)
    return jnp.take_along_axis(leaf, index, axis)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(
    model: Model,
    allowed: Allowed,
    beams: int,
    length: int,
    params: Params,
    carry: Carry,
    prefix: Array,
    mask: Array | None,
    length_penalty: Array,
) -> tuple[Array, Array]:
    shape, stop, axis = prefix.shape[1:], allowed.stop, prefix.ndim - 1

    def score(total: Array, size: Array | int) -> Array:
        return total / ((5 + size) / 6) ** length_penalty

    def body(search: tuple[_Live, _Finished], step: Array) -> tuple[tuple[_Live, _Finished], None]:
        (carry, logits, total, tokens), finished = search
        logits = logits.astype(total.dtype)
        log_probs = allowed.only(jax.nn.log_softmax(logits), step) + total[..., None]
        # A beam that holds no continuation has no NaN either, whatever the model makes of it.
        log_probs = jnp.where(total[..., None] == -jnp.inf, -jnp.inf, log_probs)
        if stop is not None:
            ended = jnp.where(jnp.arange(length)[:, *[None] * total.ndim] < step, tokens, stop)
            finished = finished.best(ended, score(log_probs[..., stop], step + 1))
            log_probs = log_probs.at[..., stop].set(-jnp.inf)
        vocab_size = log_probs.shape[-1]
        total, places = lax.top_k(log_probs.reshape(*shape, -1), beams)
        parents, token = places // vocab_size, (places % vocab_size).astype(tokens.dtype)
        tokens = _pick(tokens, parents, -1).at[step].set(token)
        carry = jax.tree.map(lambda leaf: _pick(leaf, parents, axis), carry)
        carry, out = model.apply(params, carry, token[None])
        return vary_over(axes, (_Live(carry, out[-1], total, tokens), finished)), None

    def repeat(leaf: Array) -> Array:
        wide = (*leaf.shape[:axis], beams, *leaf.shape[axis:])
        return jnp.broadcast_to(jnp.expand_dims(leaf, axis), wide)

    carry, logits = jax.tree.map(repeat, read_prefix(model, params, carry, prefix, mask))
    # One beam at first: beams that start alike would stay alike.
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    total = jnp.full((*shape, beams), -jnp.inf, dtype).at[..., 0].set(0)
    tokens = jnp.zeros((length, *shape, beams), prefix.dtype)
    live = _Live(carry, logits, total, tokens)
    finished = _Finished(tokens, jnp.full_like(total, -jnp.inf))
    axes = varying_axes(params, live, finished)
    if length:  # with no step, the body's indexing could not be traced
        (live, finished), _ = lax.scan(body, vary_over(axes, (live, finished)), jnp.arange(length))
    best = finished.best(live.tokens, score(live.total, length))
    return jnp.where(best.scores[None] > -jnp.inf, best.tokens, NO_TOKEN), best.scores
