"""What a cross-entropy needs of a linear read-out's logits, a chunk of the vocabulary at a time.

Two sweeps over the vocabulary, each with two products per chunk. The first has the logits and, by a
running maximum and sum, what a softmax needs of them; because the gradient of the rows is a mean
of the matrix's columns under that softmax, it is summed at once, like the normaliser and rescaled
with it. The second computes the logits again for the gradient of the matrix, of which a chunk
depends on no other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.jaxprs import reverse_mode_only, vary_over, varying_axes
from rnn_jax.types import Array, state_dtype

__all__ = [
    "Columns",
    "How",
    "ReadOut",
    "Statistics",
    "pulled",
    "statistics",
    "suggested_chunk",
    "sweep",
    "sweep_back",
]

_REVERSE_ONLY = (
    "derivatives of linear_cross_entropy begin in reverse mode: take jacfwd(grad(loss)) and not "
    "jvp, jacfwd or linearize of the loss itself, or use cross_entropy of all logits"
)

# Measured on two cores of a CPU in float32, forwards, backwards and an update of plain SGD, as a
# multiple of the time with all logits at once: 0.49 for V = 262,144 and 140 rows of H = 128, 0.51
# for V = 65,536, 1.1 for V = 16,384, whose logits fit the cache; with 700 rows and V = 32,768 1.0
# for H = 256 and 1.1 for H = 650; 1.2 for V = 8,192 and 4,480 rows of H = 128. What is saved are
# passes over memory, which do not grow with rows · H; what is paid is one product more, which does.
_FEW_LOGITS, _MANY_LOGITS, _CHEAP = 2**23, 2**26, 2**16
_CHUNK, _CHUNK_LOGITS, _LEAST_CHUNK = 4096, 2**23, 256

State = TypeVar("State")


def suggested_chunk(rows: int, features: int, vocab_size: int) -> int | None:
    """How many words at a time suit ``rows`` of ``features``; None: all logits at once.

    All of them where they are few enough for a cache, or where a further product would cost more
    than it saves, unless they are so many that memory matters more: from 2²⁶ on, 256 MB.

    Example:
      >>> suggested_chunk(140, 128, 262_144), suggested_chunk(100, 50, 8000)
      (4096, None)
    """
    logits = rows * vocab_size
    if logits < _FEW_LOGITS or (rows * features > _CHEAP and logits < _MANY_LOGITS):
        return None
    chunk = _CHUNK
    while chunk * rows > _CHUNK_LOGITS and chunk > _LEAST_CHUNK:
        chunk //= 2
    return min(chunk, vocab_size)


class How(NamedTuple):
    """How a sweep goes.

    chunk: words at a time, at most ``V``.
    vocab_axis: that of the vocabulary in ``w``. Chunks of logits lie as ``w`` does: ``[N, C]``
      beside ``[H, V]``, and ``[C, N]`` beside ``[V, H]``.
    mean: whether the mean of the logits is wanted, for label smoothing.
    """

    chunk: int
    vocab_axis: int
    mean: bool = False


class ReadOut(NamedTuple):
    """``rows [N, H]`` in the dtype of ``w``, ``b [V]`` or None, ``ids [N]``, all below ``V``."""

    rows: Array
    w: Array
    b: Array | None
    ids: Array


class Statistics(NamedTuple):
    """Of each row's logits, ``[N]`` each, in the `state_dtype` of the matrix.

    normalizer: ``log Σ_v exp(logits[v])``.
    picked: the logit of the row's id.
    mean: that of the logits of all words but those forbidden by a bias of -∞, or None.
    """

    normalizer: Array
    picked: Array
    mean: Array | None


class Columns(NamedTuple):
    """The gradient of each statistic in the rows: means over columns of ``w``.

    normalizer: under the softmax, ``[N, H]``.
    picked: the columns of the ids, ``[N, H]``.
    mean: of all words allowed, ``[H]``; ``words`` is their number.
    """

    normalizer: Array
    picked: Array
    mean: Array | None
    words: Array | None


def statistics(how: How, read: ReadOut) -> Statistics:
    """The `Statistics` of ``rows w + b``, differentiable in reverse mode, and then in any."""
    with reverse_mode_only(_REVERSE_ONLY):
        return _statistics(how, read)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _statistics(how: How, read: ReadOut) -> Statistics:
    return sweep(how, read, columns=False)[0]


def _forward(how: How, read: ReadOut) -> tuple[Statistics, Any]:
    found, columns = sweep(how, read)
    return found, (read, found.normalizer, columns)


def _backward(how: How, kept: Any, cotangents: Statistics) -> tuple[ReadOut]:
    read, normalizer, columns = kept
    w, b = sweep_back(how, read, normalizer, columns.words, cotangents)
    return (ReadOut(pulled(columns, cotangents).astype(read.rows.dtype), w, b, None),)  # type: ignore[arg-type]


_statistics.defvjp(_forward, _backward)


def sweep(how: How, read: ReadOut, *, columns: bool = True) -> tuple[Statistics, Columns]:
    """The statistics and, unless there is to be no gradient, what `pulled` makes it of."""
    dtype, words = state_dtype(read.w.dtype), how.vocab_axis
    chosen = jnp.take(read.w, read.ids, axis=words, mode="clip")
    chosen = (chosen.T if words else chosen).astype(dtype)

    class Sums(NamedTuple):
        largest: Array
        exponentials: Array
        picked: Array
        columns: Array | None

    def add(start: Any, size: int, sums: Sums) -> Sums:
        w, b = _part(how, read.w, read.b, start, size)
        logits = _logits(how, read.rows, w, b)
        largest = lax.stop_gradient(jnp.maximum(sums.largest, logits.max(axis=words)))
        base = _finite(largest)
        exponentials = jnp.exp(logits - jnp.expand_dims(base, words))
        shrunk = jnp.exp(sums.largest - base)
        at = jnp.clip(read.ids - start, 0, size - 1)
        found = jnp.take_along_axis(logits, jnp.expand_dims(at, words), axis=words)
        here = (read.ids >= start) & (read.ids < start + size)
        weighted = sums.columns
        if weighted is not None:
            weighted = weighted * shrunk[:, None] + _product(exponentials, w, words, words)
        return Sums(
            largest,
            sums.exponentials * shrunk + exponentials.sum(axis=words),
            jnp.where(here, found.reshape(-1), sums.picked),
            weighted,
        )

    zeros = jnp.zeros(read.ids.shape, dtype)
    # The search for the largest begins with the logit of the id. That the sweep so depends on the
    # columns chosen above keeps XLA from picking them after `sweep_back` has changed the matrix in
    # place, for which it would copy all of it, twice.
    first = (read.rows.astype(dtype) * chosen).sum(axis=-1)
    first = first if read.b is None else first + read.b.astype(dtype)[read.ids]
    sums = Sums(lax.stop_gradient(first), zeros, zeros, jnp.zeros_like(chosen) if columns else None)
    sums = _over_chunks(how, read.w.shape[words], add, sums, read)
    normalizer = _finite(sums.largest) + jnp.log(sums.exponentials)
    softmax = chosen if sums.columns is None else sums.columns / sums.exponentials[:, None]
    mean, middle, count = None, None, None
    if how.mean:
        allowed, count = _allowed(read, words)
        middle = _product(allowed, read.w, 0, words) / count
        mean = (read.rows.astype(dtype) * middle[None]).sum(axis=-1)
        if read.b is not None:
            mean = mean + jnp.where(allowed > 0, read.b.astype(dtype), 0).sum() / count
    return Statistics(normalizer, sums.picked, mean), Columns(softmax, chosen, middle, count)


def pulled(columns: Columns, cotangents: Statistics) -> Array:
    """The gradient in the rows, ``[N, H]``, of gradients in the statistics."""
    rows = cotangents.normalizer[:, None] * columns.normalizer
    rows = rows + cotangents.picked[:, None] * columns.picked
    if columns.mean is not None and cotangents.mean is not None:
        rows = rows + cotangents.mean[:, None] * columns.mean[None]
    return rows


def sweep_back(
    how: How,
    read: ReadOut,
    normalizer: Array,
    count: Array | None,
    cotangents: Statistics,
    change: Callable[[Array, Array], Array] | None = None,
) -> tuple[Array, Array | None]:
    """The gradients in ``w`` and ``b``; or with ``change(old, gradient)`` what that makes of both.

    Each chunk is then changed where it stands, and its gradient never held with the others'.
    """
    words = how.vocab_axis

    def add(start: Any, size: int, sums: tuple[Array, Array | None]) -> tuple[Array, Array | None]:
        w, b = _part(how, *(sums if change else (read.w, read.b)), start, size)
        logits = _logits(how, read.rows, w, b)

        def by_row(row: Array) -> Array:
            return jnp.expand_dims(row, words)

        number = jnp.expand_dims(start + jnp.arange(size, dtype=jnp.int32), 1 - words)
        grad = jnp.exp(logits - by_row(normalizer)) * by_row(cotangents.normalizer)
        grad = grad + jnp.where(number == by_row(read.ids), by_row(cotangents.picked), 0)
        if cotangents.mean is not None and count is not None:
            evenly = by_row(cotangents.mean / count)
            forbidden = False if b is None else jnp.expand_dims(b == -jnp.inf, 1 - words)
            grad = grad + jnp.where(forbidden, 0, evenly)
        pair = (read.rows, grad, 0, 0) if words else (grad, read.rows, 1, 0)
        new_w, new_b = _product(*pair).astype(w.dtype), grad.sum(axis=1 - words)
        if change is not None:
            new_w = change(w, new_w)
        changed = lax.dynamic_update_slice_in_dim(sums[0], new_w, start, words)
        if b is None or sums[1] is None:
            return changed, None
        new_b = new_b.astype(b.dtype)
        new_b = new_b if change is None else change(b, new_b)
        return changed, lax.dynamic_update_slice_in_dim(sums[1], new_b, start, 0)

    old = read.w, read.b
    first = old if change else jax.tree.map(jnp.zeros_like, old)
    beside = read, normalizer, cotangents
    return _over_chunks(how, read.w.shape[words], add, first, beside)


def _over_chunks(
    how: How, size: int, body: Callable[[Any, int, State], State], first: State, beside: Any
) -> State:
    """``body(start, size, state)`` of every chunk in a row; the last may be smaller."""
    state = vary_over(varying_axes(first, beside), first)
    whole, rest = divmod(size, how.chunk)
    state = lax.fori_loop(
        0, whole, lambda i, s: body(jnp.asarray(i, jnp.int32) * how.chunk, how.chunk, s), state
    )
    return body(size - rest, rest, state) if rest else state


def _part(how: How, w: Array, b: Array | None, start: Any, size: int) -> tuple[Array, Array | None]:
    part = lax.dynamic_slice_in_dim(w, start, size, how.vocab_axis)
    return part, None if b is None else lax.dynamic_slice_in_dim(b, start, size)


def _logits(how: How, rows: Array, w: Array, b: Array | None) -> Array:
    logits = _product(rows, w, 1, 0) if how.vocab_axis else _product(w, rows, 1, 1)
    return (
        logits
        if b is None
        else logits + jnp.expand_dims(b.astype(logits.dtype), 1 - how.vocab_axis)
    )


def _product(a: Array, b: Array, of_a: int, of_b: int) -> Array:
    """Summed over an axis of each, in the dtype of the parameters with sums of `state_dtype`."""
    dtype = min(a.dtype, b.dtype, key=lambda d: d.itemsize)
    return lax.dot_general(
        a.astype(dtype),
        b.astype(dtype),
        (((of_a,), (of_b,)), ((), ())),
        preferred_element_type=state_dtype(dtype),
    )


def _allowed(read: ReadOut, words: int) -> tuple[Array, Array]:
    """1 for every word whose bias is not -∞ and 0 for the others, and how many there are."""
    dtype = state_dtype(read.w.dtype)
    if read.b is None:
        allowed = jnp.ones(read.w.shape[words], dtype)
    else:
        allowed = (read.b != -jnp.inf).astype(dtype)
    return allowed, jnp.maximum(allowed.sum(), 1)


def _finite(largest: Array) -> Array:
    """What may be subtracted: 0 for a largest logit of -∞, +∞ or NaN."""
    return jnp.where(jnp.isfinite(largest), largest, 0)
