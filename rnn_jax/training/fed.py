"""Batches that memory cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnn_jax.host.checks import positive
from rnn_jax.training.batches import Batches

__all__ = ["Fed", "check_piece"]


@dataclass(frozen=True, eq=False)
class Fed:
    """Batches that are kept elsewhere than on the device, and read as they are needed.

    `fit` and `make_evaluate` take it as they take `Windows`. One thread reads, never two pieces at
    once; two are in memory, and two more while validation data are fed. A training that goes on
    needs pieces of the size it began with.

    read: ``read(begin, end, rows)`` gives batches ``begin … end-1``, at most ``piece`` of them, as
      `Windows` or a `SentenceStream` of NumPy arrays; of `Windows` the ``rows`` alone, a slice of
      the batch. Each piece has the shape of ``piece`` batches, the last one is filled up, with
      zeros, say. The arrays are used for as long as the piece is: write to them no more.
    count: the number of batches.
    batch_size: ``B``.
    piece: batches of a piece.

    Raises:
      ValueError: a number below one.

    Example:
      >>> import numpy as np
      >>> from rnn_jax.training import Windows
      >>> tokens = np.arange(81) % 50  # or numpy.memmap of a file
      >>> def read(begin, end, rows):
      ...     starts = 20 * np.arange(4)[rows] + 5 * np.arange(begin, begin + 2)[:, None, None]
      ...     at = np.minimum(starts + np.arange(5)[:, None], 79)  # [2, 5, 4]
      ...     return Windows(tokens[at], tokens[at + 1])
      >>> data = Fed(read, count=4, batch_size=4, piece=2)
      >>> data.read(2, 4, slice(0, 4)).inputs[0, :, 1].tolist()
      [30, 31, 32, 33, 34]
    """

    read: Callable[[int, int, slice], Batches]
    count: int
    batch_size: int
    piece: int

    def __post_init__(self) -> None:
        positive(count=self.count, batch_size=self.batch_size, piece=self.piece)


def check_piece(data: Fed, batches: Any, rows: int) -> None:
    """Raise ValueError unless what was read are so many rows of a piece, or all of them."""
    found = getattr(batches, "count", None), getattr(batches, "batch_size", None)
    if found[0] != data.piece or found[1] not in (rows, data.batch_size):
        what = f"{found[0]} batches of {found[1]} rows" if None not in found else f"{batches!r:.60}"
        raise ValueError(
            f"the function read of Fed must give Windows or a SentenceStream of {data.piece} "
            f"batches of {rows} rows, filled up where there are no more, not {what}"
        )
