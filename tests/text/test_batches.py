"""Both ways of cutting batches, compared with plain Python."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_jax.text import bucket_lengths, random_batches, sequential_batches

SIZES = {"extra": st.integers(1, 60), "batch": st.integers(1, 5), "steps": st.integers(1, 7)}


def stream(extra, batch, steps):
    """Tokens equal to their positions, so that a batch shows where it was cut."""
    return np.arange(batch * steps + extra)


@given(**SIZES, seed=st.integers(0, 50))
def test_random(extra, batch, steps, seed):
    ids = stream(extra, batch, steps)
    batches = list(random_batches(ids, batch, steps, np.random.default_rng(seed)))
    for x, y in batches:
        assert x.shape == y.shape == (steps, batch) and x.dtype == y.dtype == np.int32
        np.testing.assert_array_equal(y, x + 1)
        np.testing.assert_array_equal(x - x[0], np.broadcast_to(np.arange(steps)[:, None], x.shape))
    used = np.concatenate([x.ravel() for x, _ in batches])
    assert len(set(used.tolist())) == len(used)
    starts = np.concatenate([x[0] for x, _ in batches])
    offset = int(starts[0]) % steps
    assert set((starts % steps).tolist()) == {offset}
    # As many whole batches as fit into the windows after that offset.
    assert len(batches) == (len(ids) - 1 - offset) // steps // batch


@given(**SIZES, seed=st.integers(0, 50))
def test_sequential(extra, batch, steps, seed):
    ids = stream(extra, batch, steps)
    batches = list(sequential_batches(ids, batch, steps, np.random.default_rng(seed)))
    offset = int(batches[0][0][0, 0])
    assert 0 <= offset <= steps
    row = (len(ids) - offset - 1) // batch
    assert len(batches) == row // steps
    for i, (x, y) in enumerate(batches):
        assert x.dtype == y.dtype == np.int32
        expected = [[offset + b * row + i * steps + t for b in range(batch)] for t in range(steps)]
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(y, x + 1)


@pytest.mark.parametrize("cut, offsets", [(random_batches, 5), (sequential_batches, 6)])
def test_every_offset_occurs(cut, offsets):
    rng = np.random.default_rng(0)
    seen = {int(min(x.min() for x, _ in cut(range(200), 1, 5, rng))) for _ in range(200)}
    assert seen == set(range(offsets))


def test_random_order_is_shuffled_and_seeded():
    def starts(seed):
        rng = np.random.default_rng(seed)
        return [int(x[0, 0]) for x, _ in random_batches(range(500), 1, 5, rng)]

    assert starts(1) == starts(1) != starts(2)
    assert starts(1) != sorted(starts(1))


@pytest.mark.parametrize("cut", [random_batches, sequential_batches])
def test_too_short_and_bad_sizes(cut):
    rng = np.random.default_rng(0)
    # A corpus of exactly the needed length works with every offset.
    assert [len(list(cut(range(11), 2, 5, rng))) for _ in range(20)] == [1] * 20
    with pytest.raises(ValueError, match=r"10 tokens .* --batch-size 2 and --seq-length 5 need 11"):
        cut(range(10), 2, 5, rng)
    with pytest.raises(ValueError, match="--batch-size 0"):
        cut(range(10), 0, 5, rng)
    with pytest.raises(ValueError, match="--seq-length -1"):
        cut(range(10), 2, -1, rng)


def padded(lengths, buckets):
    return sum(min(b for b in buckets if b >= length) for length in lengths)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 4))
def test_buckets_waste_least(lengths, most):
    buckets = bucket_lengths(lengths, most)
    assert list(buckets) == sorted(set(buckets)) and buckets[-1] == max(lengths)
    assert len(buckets) <= most
    best = min(
        padded(lengths, (*chosen, max(lengths)))
        for n in range(most)
        for chosen in combinations(sorted(set(lengths)), n)
    )
    assert padded(lengths, buckets) == best


def test_buckets_of_nothing():
    with pytest.raises(ValueError, match="at least one length"):
        bucket_lengths([])
