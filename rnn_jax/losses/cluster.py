"""The cross-entropy within one cluster of a vocabulary, of rows whose target is in it alone.

Under jit shapes are known and numbers of rows are not. The rows of the cluster are moved to the
front, and of a few lengths the shortest that holds them all is taken while the program runs: the
values are exact however many they are, and the time is that of at most a few times as many.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import fill_masked
from rnn_jax.arrays.products import affine
from rnn_jax.jaxprs import reverse_mode_only, vary_alike
from rnn_jax.losses.chunked import (
    How,
    ReadOut,
    Statistics,
    suggested_chunk,
    sweep,
    sweep_back,
)
from rnn_jax.types import Array, Params

__all__ = ["cluster_cross_entropy"]

# All rows, a fourth and a sixteenth of them: in natural text a cluster has some 5 to 15 % of the
# targets. Measured on two cores of a CPU in float32, value and gradients of an adaptive softmax, as
# a multiple of the time of `linear_cross_entropy` of all words; targets by Zipf's law, cutoffs V/20
# and V/4: 0.11 to 0.14 for V = 65,536, H = 256 and 140 or 1,400 rows, 0.10 for V = 262,144, 0.11
# for V = 16,384, H = 128 and 700 rows; with every cluster for all rows it is 0.29 to 0.31. Lengths
# of a half and an eighth besides took up to a fifth off that, and up to twice as long to compile.
_SHARES = (16, 4, 1)

_REVERSE_ONLY = (
    "derivatives of an adaptive softmax's loss begin in reverse mode: take jacfwd(grad(loss)) and "
    "not jvp, jacfwd or linearize of the loss itself, or use cross_entropy of its logits"
)


def cluster_cross_entropy(rows: Array, tail: Params, ids: Array, inside: Array) -> Array:
    """``-log softmax(rows P W)[ids]`` where ``inside``, and 0 elsewhere.

    Args:
      rows: ``float[N, H]``; those not inside, NaN in them included, reach nothing.
      tail: ``{"down": P [H, E], "w": W [E, V]}``.
      ids: ``int[N]``, below V where inside.
      inside: ``bool[N]``.

    Returns:
      ``float[N]``.

    Raises:
      ValueError: derivatives begin with forward mode.

    Example:
      >>> tail = {"down": jnp.ones((3, 2)), "w": jnp.zeros((2, 8))}
      >>> ids, inside = jnp.array([5, 100]), jnp.array([True, False])
      >>> print(cluster_cross_entropy(jnp.ones((2, 3)), tail, ids, inside).round(3))  # ln 8
      [2.079 0.   ]
    """
    with reverse_mode_only(_REVERSE_ONLY):
        losses: Array = _of_cluster(*vary_alike((rows, tail, ids, inside)))
    return losses


# Derivatives of its own: JAX would keep, for the backward pass, what every length might need, and
# so write arrays of zeros of the longest even where the shortest is taken.
@jax.custom_vjp
def _of_cluster(rows: Array, tail: Params, ids: Array, inside: Array) -> Array:
    (losses,) = _shortest(_values, inside, (rows, tail, ids))
    return losses


def _keep(rows: Array, tail: Params, ids: Array, inside: Array) -> tuple[Array, Any]:
    losses, *kept = _shortest(_forward, inside, (rows, tail, ids))
    return losses, (rows, tail, ids, inside, *kept)


def _pull(kept: Any, cotangents: Array) -> tuple[Array, Params, None, None]:
    rows, tail, ids, inside, *kept = kept
    of_rows, of_tail = _shortest(_backward, inside, (rows, tail, ids, cotangents, *kept))
    return of_rows, of_tail, None, None


_of_cluster.defvjp(_keep, _pull)


def _shortest(function: Any, inside: Array, operands: Any) -> Any:
    """``function(first, inside, *operands)``, ``first`` being indices of all rows inside."""
    total = inside.size
    lengths = sorted({-(-total // share) for share in _SHARES})
    order = jnp.argsort(~inside)
    index = jnp.sum(inside.sum() > jnp.array(lengths[:-1], int), dtype=int)
    return lax.switch(index, [_first(function, n) for n in lengths], order, inside, *operands)


@cache  # JAX knows by the function what it has compiled
def _first(function: Any, length: int) -> Any:
    def of_first(order: Array, *given: Any) -> Any:
        return function(order[:length], *given)

    return of_first


def _values(first: Array, inside: Array, rows: Array, tail: Params, ids: Array) -> tuple[Array]:
    how, read = _read_of(first, inside, rows, tail, ids)
    return (_losses(sweep(how, read, columns=False)[0], first, inside),)


def _forward(
    first: Array, inside: Array, rows: Array, tail: Params, ids: Array
) -> tuple[Array, Array, Array]:
    """The losses ``[N]``, their normalisers ``[N]``, and their gradients in ``rows P [N, E]``."""
    how, read = _read_of(first, inside, rows, tail, ids)
    found, columns = sweep(how, read)
    kept = found.normalizer, columns.normalizer - columns.picked
    normalizers, gradients = (_scattered(each, first, len(ids)) for each in kept)
    return _losses(found, first, inside), normalizers, gradients


def _backward(
    first: Array,
    inside: Array,
    rows: Array,
    tail: Params,
    ids: Array,
    cotangents: Array,
    normalizers: Array,
    gradients: Array,
) -> tuple[Array, Params]:
    how, read = _read_of(first, inside, rows, tail, ids)
    factors = fill_masked(cotangents[first], inside[first])
    w, _ = sweep_back(how, read, normalizers[first], None, Statistics(factors, -factors, None))
    chosen = fill_masked(rows[first], inside[first])
    _, pull = jax.vjp(affine, chosen, tail["down"])
    of_chosen, down = pull(factors[:, None] * gradients[first])
    return _scattered(of_chosen, first, len(ids)), {"down": down, "w": w}


def _read_of(
    first: Array, inside: Array, rows: Array, tail: Params, ids: Array
) -> tuple[How, ReadOut]:
    w, inside = tail["w"], inside[first]
    down = affine(fill_masked(rows[first], inside), tail["down"])
    chunk = suggested_chunk(len(first), *w.shape) or w.shape[1]
    own = fill_masked(ids[first], inside).astype(jnp.int32)
    return How(chunk, vocab_axis=1), ReadOut(down.astype(w.dtype), w, None, own)


def _losses(found: Statistics, first: Array, inside: Array) -> Array:
    losses = fill_masked(found.normalizer - found.picked, inside[first])
    return _scattered(losses, first, len(inside))


def _scattered(values: Array, rows: Array, total: int) -> Array:
    zeros = jnp.zeros((total, *values.shape[1:]), values.dtype)
    return zeros.at[rows].set(values, unique_indices=True)
