"""Data sets on the device as batches that are ready, and how a stream is cut into such."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from rnn_jax.arrays.checks import whole_numbers
from rnn_jax.host.checks import positive
from rnn_jax.types import Array, Batch

__all__ = [
    "Batches",
    "Consume",
    "State",
    "Windows",
    "consecutive",
    "covering",
    "stacked",
]

State = TypeVar("State")
Consume = Callable[[State, Batch], State]


class Batches(Protocol):
    """A data set on the device: `Windows`, a `SentenceStream`, or what has their members."""

    @property
    def count(self) -> int:
        """The number of batches."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        ...

    def visit(self, index: Array, consume: Consume[State], state: State) -> State:
        """``consume(state, batch)`` on batch ``index``."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Windows:
    """Batches of equal shape: ``inputs [N, T, B(, D)]`` and ``targets [N, T, B(, C)]``.

    mask: ``bool[N, T, B]``, where some steps are padding.
    resets: ``bool[N, T, B]``, True where a new sequence begins within a row.
    source: ``[N, S, B(, D)]``, what an `encoder_decoder` reads before, and source_mask.
    """

    inputs: Array
    targets: Array
    mask: Array | None = None
    resets: Array | None = None
    source: Array | None = None
    source_mask: Array | None = None

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
        parts = Batch(*(getattr(self, name) for name in Batch._fields))
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
    ids = whole_numbers("ids", ids)
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
    ids = whole_numbers("ids", ids)
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
