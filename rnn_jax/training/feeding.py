"""Fed batches on the device: the next piece is read while steps run on the latest."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import jax

from rnn_jax.training.batches import Batches
from rnn_jax.training.devices import Devices
from rnn_jax.training.fed import Fed, check_piece

__all__ = ["Feeder", "Piece"]


class Piece(NamedTuple):
    """Batches on the device, of which the first is batch ``begin`` of the data set."""

    batches: Batches
    begin: int
    end: int


class Feeder:
    """Pieces of data sets, where steps read them; leaving its block ends its thread.

    Args:
      devices: those that steps run on; None for the default one.
      check: called with each piece that was read, while it is NumPy arrays.
      beside: another one, whose thread reads for this one, too.
    """

    _thread: ThreadPoolExecutor

    def __init__(
        self,
        devices: Devices | None = None,
        check: Callable[[Any], None] | None = None,
        *,
        beside: Feeder | None = None,
    ) -> None:
        self._devices, self._check, self._owns_thread = devices, check, beside is None
        self._thread = beside._thread if beside else ThreadPoolExecutor(1, "rnn_jax.Feeder")
        self._read: dict[tuple[Fed, int], Future[Batches]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()
        if self._owns_thread:
            self._thread.shutdown(cancel_futures=True)

    def forget(self) -> None:
        """Give the memory of all pieces up."""
        for future in self._read.values():
            future.cancel()
        self._read.clear()

    def piece(self, data: Batches | Fed, index: int, count: int | None = None) -> Piece:
        """The piece with batch ``index``, of ``count`` that are real; of data in memory all."""
        if not isinstance(data, Fed):
            return Piece(data, 0, data.count)
        number = index // data.piece
        last = ((data.count if count is None else count) - 1) // data.piece
        # No third piece, so that memory is bounded.
        self._read = {
            (data, one): self._read.get((data, one)) or self._thread.submit(self._placed, data, one)
            for one in (number, number + 1)
            if one <= max(last, number)
        }
        return Piece(self._read[data, number].result(), *_bounds(data, number))

    def first(self, data: Fed) -> Batches:
        """The first piece as it was read, all rows of it."""
        return self._thread.submit(_read, data, 0, slice(0, data.batch_size)).result()

    def _placed(self, data: Fed, number: int) -> Batches:
        size, devices = data.batch_size, self._devices
        rows = slice(0, size) if devices is None else devices.rows(size)
        batches = _read(data, number, rows)
        if self._check is not None:
            self._check(batches)
        placed: Batches = (
            jax.device_put(batches) if devices is None else devices.piece(batches, size, rows)
        )
        return placed


def _read(data: Fed, number: int, rows: slice) -> Batches:
    batches = data.read(*_bounds(data, number), rows)
    check_piece(data, batches, rows.stop - rows.start)
    return batches


def _bounds(data: Fed, number: int) -> tuple[int, int]:
    return number * data.piece, min((number + 1) * data.piece, data.count)
