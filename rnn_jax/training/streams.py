"""Sentences of one long stream on the device, cut and padded inside jit.

They are padded to one of a few lengths, each with its own branch of a ``lax.switch``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnn_jax.arrays.checks import whole_numbers
from rnn_jax.arrays.masking import length_mask
from rnn_jax.host.checks import positive
from rnn_jax.training.batches import Consume, State
from rnn_jax.types import Array, Batch

__all__ = ["SentenceStream", "sentence_stream"]


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
      ValueError: ids or offsets that are no integers or do not fit together, no sentence, a batch
        size below one, buckets that do not increase, or a sentence
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
    stream, offsets = whole_numbers("stream", stream), whole_numbers("offsets", offsets)
    if len(offsets) and not (
        offsets[0] >= 0 and offsets[-1] <= len(stream) and (offsets[1:] >= offsets[:-1]).all()
    ):
        raise ValueError(
            f"offsets must increase from 0 to the {len(stream)} tokens of the stream, where each "
            "sentence begins and the last ends"
        )
    buckets = tuple(buckets or ())
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
