"""Batches that memory cannot hold: read in pieces, the next one while steps run on the latest."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jax

from rnn_jax.host.checks import positive
from rnn_jax.training.blocks import Batches
from rnn_jax.training.devices import Devices

__all__ = ["Fed", "Feeder", "Piece", "check_piece"]


@dataclass(frozen=True, eq=False)
class Fed:
    """Batches that are kept elsewhere than on the device, and read as they are needed.

    `fit` and `make_evaluate` take it as they take `Windows`. One thread reads; two pieces are in
    memory at a time.

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


class Piece(NamedTuple):
    """Batches on the device, of which the first is batch ``begin`` of the data set."""

    batches: Batches
    begin: int
    end: int


class Feeder:
    """Pieces of data sets, where steps read them.

    Args:
      devices: those that steps run on; None for the default one.
      check: called with each piece that was read, while it is NumPy arrays.
    """

    def __init__(
        self, devices: Devices | None = None, check: Callable[[Any], None] | None = None
    ) -> None:
        self._devices, self._check = devices, check
        self._thread = ThreadPoolExecutor(1, "rnn_jax.Feeder")
        self._read: dict[tuple[Fed, int], Future[Batches]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._read.clear()
        self._thread.shutdown(cancel_futures=True)

    def piece(self, data: Batches | Fed, index: int) -> Piece:
        """The piece with batch ``index``; all of a data set that is not fed."""
        if not isinstance(data, Fed):
            return Piece(data, 0, data.count)
        number = index // data.piece
        last = (data.count - 1) // data.piece
        # No third piece, so that memory is bounded.
        self._read = {
            (data, one): self._read.get((data, one)) or self._thread.submit(self._placed, data, one)
            for one in (number, number + 1)
            if one <= last
        }
        return Piece(self._read[data, number].result(), *_bounds(data, number))

    def _placed(self, data: Fed, number: int) -> Batches:
        batches = data.read(*_bounds(data, number), slice(0, data.batch_size))
        check_piece(data, batches)
        if self._check is not None:
            self._check(batches)
        placed: Batches = (
            jax.device_put(batches) if self._devices is None else self._devices.batches(batches)
        )
        return placed


def check_piece(data: Fed, batches: Any) -> None:
    """Raise ValueError unless what was read is a piece of the data set."""
    found = getattr(batches, "count", None), getattr(batches, "batch_size", None)
    if found != (data.piece, data.batch_size):
        what = f"{found[0]} batches of {found[1]} rows" if None not in found else f"{batches!r:.60}"
        raise ValueError(
            f"the function read of Fed must give Windows or a SentenceStream of {data.piece} "
            f"batches of {data.batch_size} rows, filled up where there are no more, not {what}"
        )


def _bounds(data: Fed, number: int) -> tuple[int, int]:
    return number * data.piece, min((number + 1) * data.piece, data.count)
