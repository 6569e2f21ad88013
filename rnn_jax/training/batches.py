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
from numpy.typing import ArrayLike

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
    resets: ``bool[N, T, B]``, True where a new sequence begins within a row.
    """

    inputs: Array
    targets: Array
    mask: Array | None = None
    resets: Array | None = None

    @property
    def count(self) -> int:
        """The number of batches."""
        return self.inputs.shape[0]

    @property
    def batch_size(self) -> int:
        """``B``."""
        return self.inputs.shape[2]

    def visit(self, index: Array, consume: Consume[State], state: State) -> State:
        """``consume(state, batch)`` on batch ``index``.

        Raises:
          ValueError: the arrays are of different numbers of batches.
        """
        parts = Batch(self.inputs, self.targets, self.mask, self.resets)
        for name, part in parts._asdict().items():
            # An index beyond the end of one would be its last batch again.
            if part is not None and part.shape[:1] != self.inputs.shape[:1]:
                raise ValueError(
                    f"the {name} of shape {part.shape} are not of {self.count} batches, as the "
                    "inputs are: pass one for each batch"
                )
        return consume(state, jax.tree.map(lambda part: part[index], parts))


def stacked(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    count: int | None = None,
    *,
    resets: Iterable[np.ndarray] | None = None,
) -> Windows:
    """The batches of one epoch, such as `rnn_jax.text.random_batches` cuts them, as `Windows`.

    Args:
      pairs: inputs ``[T, B(, D)]`` and targets ``[T, B(, C)]``, of one shape from pair to pair.
      count: how many batches to hold; those that are missing are zeros at the end, so that epochs
        of unequal length have one shape. None for as many as there are.
      resets: where a document begins, ``[T, B]`` for each pair.

    Example:
      >>> from rnn_jax.text import sequential_batches
      >>> data = stacked(sequential_batches(range(35), 2, 5, np.random.default_rng(0)))
      >>> data.inputs.shape
      (2, 5, 2)
    """

    def whole(batches: Iterable[np.ndarray]) -> Array:
        stack = np.stack(list(batches))
        missing = 0 if count is None else count - len(stack)
        widths = [(0, missing), *((0, 0),) * (stack.ndim - 1)]
        return jnp.asarray(np.pad(stack, widths) if missing else stack)

    inputs, targets = map(whole, zip(*pairs, strict=True))
    return Windows(inputs, targets, None, None if resets is None else whole(resets).astype(bool))


def consecutive(
    ids: np.ndarray, batch_size: int, seq_length: int, *, begins: ArrayLike | None = None
) -> Windows:
    """All of ``ids [N]`` but a remainder, as ``B`` rows that continue from window to window.

    Unlike `rnn_jax.text.sequential_batches` it drops no random offset: each call sees the same
    tokens.

    Args:
      ids: ``int[N]``.
      batch_size: ``B``.
      seq_length: ``T``.
      begins: where documents begin: their positions in ``ids``, increasing, or ``bool[N]``, True on
        the first token of each. There the windows have ``resets``; the first token of a document
        stays a target, of the document before it.

    Raises:
      ValueError: there are too few tokens for one window of ``batch_size`` rows, or ``begins`` is
        neither of the two.

    Example:
      >>> data = consecutive(np.arange(14), 2, 3, begins=[0, 4, 9])
      >>> data.inputs[:, :, 0].tolist(), data.targets[-1, :, 1].tolist()
      ([[0, 1, 2], [3, 4, 5]], [10, 11, 12])
      >>> sorted(data.inputs[data.resets].tolist())
      [0, 4, 9]
    """
    positive(batch_size=batch_size, seq_length=seq_length)
    ids = _whole_numbers("ids", ids)
    first = _first_tokens(begins, len(ids))
    count = (len(ids) - 1) // batch_size // seq_length
    if count < 1:
        raise ValueError(
            f"{len(ids)} tokens are too few for {batch_size} rows of {seq_length}: use a longer "
            "text, fewer rows or shorter windows"
        )
    used = batch_size * count * seq_length

    def cut(side: np.ndarray) -> np.ndarray:
        return side.reshape(batch_size, count, seq_length).transpose(1, 2, 0)

    inputs, targets = (jnp.asarray(cut(i), jnp.int32) for i in (ids[:used], ids[1 : used + 1]))
    return Windows(inputs, targets, None, None if first is None else jnp.asarray(cut(first[:used])))


def covering(
    ids: np.ndarray, batch_size: int, seq_length: int, *, begins: ArrayLike | None = None
) -> Windows:
    """All of ``ids [N]``, every target exactly once, as rows that continue from window to window.

    At most ``B`` rows of lengths that differ by one at most, the last window of each padded. Where
    ``ids`` are few, there are fewer rows, so that each fills a window, and then a shorter window.
    For ``begins`` see `consecutive`.

    Raises:
      ValueError: there is no target, because there are less than two tokens; ``begins`` marks no
        tokens of ``ids``.

    Example:
      >>> data = covering(np.arange(14), 2, 3)
      >>> sorted(data.targets[data.mask].tolist()) == [*range(1, 14)]
      True
      >>> data.inputs[:, :, 1].tolist()  # 7, 8, … continues from window to window
      [[6, 7, 8], [9, 10, 11], [12, 0, 0]]
    """
    positive(batch_size=batch_size, seq_length=seq_length)
    ids = _whole_numbers("ids", ids)
    first = _first_tokens(begins, len(ids))
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
    return Windows(
        inputs,
        wanted,
        None if mask.all() else jnp.asarray(mask),
        None if first is None else jnp.asarray(mask & first[at]),
    )


def _whole_numbers(name: str, values: ArrayLike) -> np.ndarray:
    """``int[N]`` whose values 32 bits hold; anything else would be cut down without a word.

    Raises:
      ValueError: these are no such numbers.
    """
    found = np.asarray(values)
    if found.ndim != 1 or not (np.issubdtype(found.dtype, np.integer) or not found.size):
        raise ValueError(
            f"{name} must be integers in one row, int[N], not {found.dtype}{list(found.shape)}"
        )
    if found.size and not (-(2**31) <= found.min() and found.max() < 2**31):
        raise ValueError(f"{name} must lie within 32 bits, not {found.min()} … {found.max()}")
    return found


def _first_tokens(begins: ArrayLike | None, size: int) -> np.ndarray | None:
    """``bool[N]`` of the first tokens of documents, from such an array or from positions."""
    if begins is None:
        return None
    given = np.asarray(begins)
    if given.dtype == bool and given.shape == (size,):
        return given
    # Flags as integers, 0 and 1, do not increase and are not taken for positions.
    positions = given if given.size else given.astype(int)
    good = np.issubdtype(positions.dtype, np.integer) and positions.ndim == 1
    if good and positions.size:
        increasing = (positions[1:] > positions[:-1]).all()
        good = bool(0 <= positions[0] and positions[-1] < size and increasing)
    if not good:
        raise ValueError(
            f"begins must be increasing positions among {size} tokens, or {size} booleans, not "
            f"{given.dtype}{list(given.shape)}: {np.array2string(given, threshold=6)}"
        )
    first = np.zeros(size, bool)
    first[positions] = True
    return first


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
    stream, offsets = _whole_numbers("stream", stream), _whole_numbers("offsets", offsets)
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
