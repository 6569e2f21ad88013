"""Whole data sets on the device, and the batch of each step taken from them inside jit.

Many steps run inside one compiled call, so the batches are cut on the device: a `Windows` holds
them ready, a `SentenceStream` cuts sentences from one long stream and pads them to one of a few
lengths, each with its own branch of a ``lax.switch``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnn_jax.arrays.masking import length_mask
from rnn_jax.host.checks import positive
from rnn_jax.types import Array, Batch

__all__ = [
    "SentenceStream",
    "Windows",
    "consecutive",
    "covering",
    "sentence_stream",
    "stacked",
]

State = TypeVar("State")
Consume = Callable[[State, Batch], State]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Windows:
    """Batches of equal shape: ``inputs [N, T, B(, D)]`` and ``targets [N, T, B(, C)]``.

    mask: ``bool[N, T, B]``, where some steps are padding.
    """

    inputs: Array
    targets: Array
    mask: Array | None = None

    @property
    def count(self) -> int:
        """The number of batches."""
        return self.inputs.shape[0]

    @property
    def batch_size(self) -> int:
        """``B``."""
        return self.inputs.shape[2]

    def visit(self, index: Array, consume: Consume[State], state: State) -> State:
        """``consume(state, batch)`` on batch ``index``."""
        mask = None if self.mask is None else self.mask[index]
        return consume(state, Batch(self.inputs[index], self.targets[index], mask))


def stacked(pairs: Iterable[tuple[np.ndarray, np.ndarray]], count: int | None = None) -> Windows:
    """The batches of one epoch, such as `rnn_jax.text.random_batches` cuts them, as `Windows`.

    Args:
      pairs: inputs ``[T, B(, D)]`` and targets ``[T, B(, C)]``, of one shape from pair to pair.
      count: how many batches to hold; those that are missing are zeros at the end, so that epochs
        of unequal length have one shape. None for as many as there are.

    Example:
      >>> from rnn_jax.text import sequential_batches
      >>> data = stacked(sequential_batches(range(35), 2, 5, np.random.default_rng(0)))
      >>> data.inputs.shape
      (2, 5, 2)
    """
    inputs, targets = (np.stack(side) for side in zip(*pairs, strict=True))
    if count is not None:
        inputs, targets = (
            np.pad(side, [(0, count - len(side)), *((0, 0),) * (side.ndim - 1)])
            for side in (inputs, targets)
        )
    return Windows(jnp.asarray(inputs), jnp.asarray(targets))


def consecutive(ids: np.ndarray, batch_size: int, seq_length: int) -> Windows:
    """All of ``ids [N]`` but a remainder, as ``B`` rows that continue from window to window.

    Unlike `rnn_jax.text.sequential_batches` it drops no random offset: each call sees the same
    tokens.

    Raises:
      ValueError: there are too few tokens for one window of ``batch_size`` rows.

    Example:
      >>> data = consecutive(np.arange(14), 2, 3)
      >>> data.inputs[:, :, 0].tolist(), data.targets[-1, :, 1].tolist()
      ([[0, 1, 2], [3, 4, 5]], [10, 11, 12])
    """
    count = (len(ids) - 1) // batch_size // seq_length
    if count < 1:
        raise ValueError(
            f"{len(ids)} tokens are too few for {batch_size} rows of {seq_length}: use a longer "
            "text, fewer rows or shorter windows"
        )
    used = batch_size * count * seq_length
    inputs, targets = (
        jnp.asarray(side.reshape(batch_size, count, seq_length).transpose(1, 2, 0), jnp.int32)
        for side in (ids[:used], ids[1 : used + 1])
    )
    return Windows(inputs, targets)


def covering(ids: np.ndarray, batch_size: int, seq_length: int) -> Windows:
    """All of ``ids [N]``, every target exactly once, as rows that continue from window to window.

    At most ``B`` rows of lengths that differ by one at most, the last window of each padded. Where
    ``ids`` are few, there are fewer rows, so that each fills a window, and then a shorter window.

    Raises:
      ValueError: there is no target, because there are less than two tokens.

    Example:
      >>> data = covering(np.arange(14), 2, 3)
      >>> sorted(data.targets[data.mask].tolist()) == [*range(1, 14)]
      True
      >>> data.inputs[:, :, 1].tolist()  # 7, 8, … continues from window to window
      [[6, 7, 8], [9, 10, 11], [12, 0, 0]]
    """
    positive(batch_size=batch_size, seq_length=seq_length)
    targets = len(ids) - 1
    if targets < 1:
        raise ValueError(f"{len(ids)} tokens hold no target: use a longer text")
    rows = max(1, min(batch_size, targets // seq_length))
    begins = targets * np.arange(rows + 1) // rows
    lengths = np.diff(begins)
    length = min(seq_length, int(lengths.max()))
    steps = np.arange(-(-lengths.max() // length) * length).reshape(-1, length, 1)
    mask = steps < lengths
    at = np.where(mask, begins[:-1] + steps, 0)
    inputs, wanted = (jnp.asarray(np.where(mask, ids[at + i], 0), jnp.int32) for i in (0, 1))
    return Windows(inputs, wanted, None if mask.all() else jnp.asarray(mask))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SentenceStream:
    """Sentences in one stream, ``batch_size`` consecutive ones a batch; made by `sentence_stream`.

    stream: ``int[N]``, all sentences and padding behind them.
    starts, lengths: ``int[S]``, where a sentence begins and its number of (input, target) pairs;
      filled up with empty sentences to a multiple of the batch size.
    buckets: the padded lengths, increasing.
    """

    stream: Array
    starts: Array
    lengths: Array
    buckets: tuple[int, ...] = field(metadata={"static": True})
    batch_size: int = field(metadata={"static": True})

    @property
    def count(self) -> int:
        """The number of batches."""
        return self.starts.shape[0] // self.batch_size

    def visit(self, index: Array, consume: Consume[State], state: State) -> State:
        """``consume(state, batch)`` on batch ``index``, padded to the smallest bucket it fits."""
        rows = lax.dynamic_slice_in_dim(self.starts, index * self.batch_size, self.batch_size)
        lengths = lax.dynamic_slice_in_dim(self.lengths, index * self.batch_size, self.batch_size)

        def padded_to(length: int) -> Callable[[State], State]:
            def branch(state: State) -> State:
                cut = partial(lax.dynamic_slice_in_dim, self.stream, slice_size=length + 1)
                tokens: Array = jax.vmap(cut, out_axes=1)(rows)
                # Only the branch that every row fits is taken; the others are traced all the same.
                mask = length_mask(jnp.minimum(lengths, length), length)
                batch = Batch(tokens[:-1], tokens[1:], mask)
                return consume(state, batch)

            return branch

        bucket = jnp.searchsorted(jnp.array(self.buckets), lengths.max())
        result: Any = lax.switch(bucket, [padded_to(length) for length in self.buckets], state)
        return result


def sentence_stream(
    stream: np.ndarray, offsets: np.ndarray, *, buckets: tuple[int, ...], batch_size: int = 1
) -> SentenceStream:
    """Sentences ready to be visited in their order.

    Args:
      stream: ``int[N]``, sentences one after the other.
      offsets: ``int[S+1]``, where each begins, and the end of the last.
      buckets: increasing padded lengths; the last one at least that of the longest sentence's
        pairs (its tokens less one).
      batch_size: sentences in a batch; 1 is the reference's training.

    Raises:
      ValueError: no sentence, a batch size below one, buckets that do not increase, or a sentence
        longer than the last of them.

    Example:
      >>> import numpy as np
      >>> stream, offsets = np.array([0, 5, 1, 0, 6, 7, 1]), np.array([0, 3, 7])
      >>> data = sentence_stream(stream, offsets, buckets=(2, 4))
      >>> data.count
      2
      >>> data.visit(jax.numpy.array(1), lambda _, b: (b.inputs * b.mask).sum(), jax.numpy.array(0))
      Array(13, dtype=int32)
    """
    positive(batch_size=batch_size)
    if not buckets or min(np.diff(buckets, prepend=0)) < 1:
        raise ValueError(f"buckets must be positive and increasing lengths, not {buckets}")
    # A sentence of one token has no pair, and neither has one of none.
    starts, lengths = offsets[:-1], np.maximum(np.diff(offsets) - 1, 0)
    if not len(starts):
        raise ValueError("there is no sentence to train on: give a corpus with at least one")
    if lengths.max() > buckets[-1]:
        raise ValueError(
            f"a sentence of {lengths.max()} steps exceeds the last bucket {buckets[-1]}"
        )
    if len(stream) + buckets[-1] + 1 >= 2**31:
        raise ValueError(f"{len(stream)} tokens are too many for one stream: pass less than 2**31")
    fill = -len(starts) % batch_size
    return SentenceStream(
        jnp.asarray(np.pad(stream, (0, buckets[-1] + 1)), jnp.int32),
        jnp.asarray(np.pad(starts, (0, fill)), jnp.int32),
        jnp.asarray(np.pad(lengths, (0, fill)), jnp.int32),
        buckets,
        batch_size,
    )
