"""Mini-batches cut from a stream of tokens, and buckets of sentence lengths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int32]

_DISTINCT = 2048  # lengths that are told apart


def random_batches(
    ids: ArrayLike, batch_size: int, seq_length: int, rng: np.random.Generator
) -> Iterator[tuple[Ids, Ids]]:
    """Random sampling: non-overlapping windows in random order.

    The first 0 to T - 1 tokens are dropped, the rest is cut into windows of T, and the windows are
    shuffled. Consecutive batches are unrelated, so each starts from the initial state.

    Args:
        ids: int[N], N at least B * T + 1.
        batch_size: B.
        seq_length: T.
        rng: source of the offset and the order.

    Returns:
        Iterator of (x, y), int32[T, B] each; y is one token later than x.

    Raises:
        ValueError: a size is below 1, or the corpus is shorter than one batch.

    Example:
        >>> x, y = next(random_batches(range(35), 2, 5, np.random.default_rng(0)))
        >>> x.shape, bool((y == x + 1).all())
        ((5, 2), True)

    Reference:
        Zhang et al., Dive into Deep Learning, section 9.3 (batch-major there).
    """
    corpus = _int32(ids)
    offset = drawn_offset(len(corpus), batch_size, seq_length, seq_length - 1, rng)
    order = shuffled((len(corpus) - offset - 1) // seq_length, rng)
    steps = offset + np.arange(seq_length)[:, None]
    windows = (
        seq_length * order[i : i + batch_size].astype(np.int64) + steps
        for i in range(0, len(order) - batch_size + 1, batch_size)
    )
    return ((corpus[window], corpus[window + 1]) for window in windows)


def sequential_batches(
    ids: ArrayLike, batch_size: int, seq_length: int, rng: np.random.Generator
) -> Iterator[tuple[Ids, Ids]]:
    """Sequential partitioning: each row of a batch continues the same row of the previous batch.

    The first 0 to T tokens are dropped, the rest is laid out as B long rows, and every batch takes
    the next T tokens of each; the state is carried from batch to batch.

    Args:
        ids: int[N], N at least B * T + 1.
        batch_size: B.
        seq_length: T.
        rng: source of the offset.

    Returns:
        Iterator of (x, y), int32[T, B] each; y is one token later than x.

    Raises:
        ValueError: a size is below 1, or the corpus is shorter than one batch.

    Example:
        >>> batches = sequential_batches(range(35), 2, 5, np.random.default_rng(0))
        >>> (a, _), (b, _) = next(batches), next(batches)
        >>> (b[0] - a[-1]).tolist()
        [1, 1]

    Reference:
        Zhang et al., Dive into Deep Learning, section 9.3 (batch-major there).
    """
    corpus = _int32(ids)
    offset = drawn_offset(len(corpus), batch_size, seq_length, seq_length, rng)
    length = (len(corpus) - offset - 1) // batch_size
    last = offset + length * batch_size
    x = corpus[offset:last].reshape(batch_size, length).T
    y = corpus[offset + 1 : last + 1].reshape(batch_size, length).T
    cuts = (slice(i, i + seq_length) for i in range(0, length - seq_length + 1, seq_length))
    # Copies, time first in memory too: a view's strides are lost on readers of raw memory. A batch
    # at a time, for those of a long stream together are larger than it.
    return ((np.ascontiguousarray(x[cut]), np.ascontiguousarray(y[cut])) for cut in cuts)


def drawn_offset(
    size: int, batch_size: int, seq_length: int, largest: int, rng: np.random.Generator
) -> int:
    """How many tokens an epoch drops at the beginning of ``size``, at most ``largest``.

    Raises:
        ValueError: a size is below 1, or the corpus is shorter than one batch.
    """
    for option, value in (("--batch-size", batch_size), ("--seq-length", seq_length)):
        if value < 1:
            raise ValueError(f"{option} {value} is too small; it must be at least 1")
    needed = batch_size * seq_length + 1
    if size < needed:
        raise ValueError(
            f"the corpus of {size} tokens is shorter than one batch: --batch-size "
            f"{batch_size} and --seq-length {seq_length} need {needed}, so make one of them smaller"
        )
    # A corpus that is just long enough must not lose its only batch to an unlucky offset.
    return int(rng.integers(0, min(largest, size - needed), endpoint=True))


def shuffled(count: int, rng: np.random.Generator) -> NDArray[np.integer[Any]]:
    """The numbers below ``count`` in random order; the order does not depend on their dtype.

    They are one array of the narrowest integers: those of a long text take hundreds of megabytes.
    """
    narrow = np.dtype(np.int32 if count <= 1 << 31 else np.int64)
    order: NDArray[np.integer[Any]] = np.arange(count, dtype=narrow)
    rng.shuffle(order)
    return order


def _int32(ids: ArrayLike) -> Ids:
    corpus = np.asarray(ids)
    if corpus.size and not (-(2**31) <= corpus.min() and corpus.max() < 2**31):
        raise ValueError("an id does not fit 32 bits: number the tokens from 0")
    return corpus.astype(np.int32, copy=False)


def bucket_lengths(lengths: ArrayLike, most: int = 6) -> tuple[int, ...]:
    """The few padded lengths that waste the fewest padded steps.

    Args:
        lengths: int[N], the lengths of N sentences.
        most: the largest number of buckets.

    Returns:
        Increasing lengths, the last of which is that of the longest sentence; a sentence goes into
        the first bucket that it fits. The total number of padded steps is the least possible.

    Raises:
        ValueError: there are no lengths, or ``most`` is below 1.

    Example:
        >>> bucket_lengths([3, 3, 3, 4, 9, 10], most=2)
        (4, 10)
    """
    return counted_bucket_lengths(*np.unique(np.asarray(lengths), return_counts=True), most)


def counted_bucket_lengths(
    values: NDArray[np.integer[Any]], counts: NDArray[np.integer[Any]], most: int = 6
) -> tuple[int, ...]:
    """`bucket_lengths` of distinct, increasing lengths and how often each occurs.

    Of very many distinct lengths, neighbours count as one, which costs a little padding: what is
    weighed grows with the square of their number.
    """
    if len(values) > _DISTINCT:
        last = np.linspace(-1, len(values) - 1, _DISTINCT + 1).astype(int)[1:]
        sums = np.cumsum(counts)[last]
        values, counts = values[last], np.diff(sums, prepend=0)
    if not len(values) or most < 1:
        raise ValueError("bucket_lengths needs at least one length and at least one bucket")
    before = np.concatenate([[0], np.cumsum(counts)])
    # cost[j] is the least total for the j shortest distinct lengths, with one more bucket in every
    # round; last_begins[k][j] is where the last of these k + 1 buckets begins.
    cost = np.where(before == 0, 0.0, np.inf)
    last_begins = []
    for _ in range(min(most, len(values))):
        # total[i, j]: the buckets of the first i lengths, and one more for lengths i to j.
        total = cost[:-1, None] + values * (before[1:] - before[:-1, None])
        total[np.tril_indices(len(values), -1)] = np.inf
        last_begins.append(total.argmin(axis=0))
        cost = np.concatenate([[np.inf], total.min(axis=0)])
    buckets, end = [], len(values)
    for begins in reversed(last_begins):
        buckets.append(int(values[end - 1]))
        end = int(begins[end - 1])
    return tuple(reversed(buckets))
