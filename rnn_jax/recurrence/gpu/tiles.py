"""What fits on a GPU: shared memory, registers and rows of a block, by a model of each.

The registers are fitted to what NVIDIA's assembler reports; the other figures are from NVIDIA's
tables, or are assumptions. None has been measured on a device.
"""

from __future__ import annotations

from dataclasses import dataclass

from rnn_jax.jaxprs import Device
from rnn_jax.recurrence.gpu.settings import Kernel

__all__ = ["THREADS", "Sizes", "Tile", "tile_of"]

THREADS = 128  # a warp group, for which a kernel of Mosaic GPU is written

HOPPER = Device((9, 0), 132)

# Shared memory of one block in bytes, by major version of the compute capability. For 8 JAX 0.10's
# compiler ends the process at an instruction that it lacks; for 12 the assembler refuses.
_SHARED = {9: 227 * 1024, 10: 227 * 1024}
# What Mosaic sets aside in it for its own reductions and barriers.
_RESERVED = 4 * 1024
# A matrix that is read again at every step: at about 100 GB/s for one processor, 5 µs a step.
_REREAD = 512 * 1024
# Of a thread's registers, those for addresses, counters and the terms of a product in flight, and
# those that stay free, because the model has been off by as many.
_REGISTERS, _OTHERS, _FREE = 255, 56, 10
_MOST_ROWS = 8


@dataclass(frozen=True)
class Sizes:
    """What a kernel's memory depends on.

    rows: of the batch.
    units: ``H``.
    gates: blocks of the recurrent product.
    leaves: of the carry.
    parameters: of single units.
    itemsize: of the recurrent matrix, in bytes.
    sums: whether only the sums of both products are read; see `Plan`.
    """

    rows: int
    units: int
    gates: int
    leaves: int
    parameters: int
    itemsize: int
    sums: bool = True

    @property
    def padded(self) -> int:
        """Units as every thread holds equally many of them."""
        return -(-self.units // THREADS) * THREADS

    @property
    def matrix(self) -> int:
        """Bytes of the recurrent matrix, or its transpose, with padded rows."""
        return self.units * self.gates * self.padded * self.itemsize

    def exchanged(self, rows: int) -> int:
        """Bytes through which the units of a step see each other, there and back."""
        return 4 * rows * self.gates * self.padded

    def registers(self, rows: int) -> int:
        """Registers of a thread, on the way back, which needs more.

        A row holds its products, what it reads of a step and of the next one (carries, input and
        recurrent products, the output's cotangent), carries and their cotangents, and for every
        parameter its sum and the terms in flight. That is an estimate: compiled for a Hopper,
        kernels of LSTMs (with peepholes, too) and GRUs took 242, 190 and 162 registers where this
        says 232, 192 and 161.
        """
        read = self.leaves + self.gates * (1 if self.sums else 2) + 1
        row = 2 * read + self.gates + 2 * self.leaves + 4 * self.parameters
        return _OTHERS + rows * row * (self.padded // THREADS)


@dataclass(frozen=True)
class Tile:
    """What one block of threads does.

    rows: of the batch.
    resident: whether it keeps the recurrent matrix in shared memory.
    """

    rows: int
    resident: bool


def tile_of(kernel: Kernel, sizes: Sizes, device: Device | None) -> Tile:
    """The tile of one block, the same for the way there and the way back.

    Args:
      kernel: settings, whose None is filled in.
      sizes: of the recurrence.
      device: None for a Hopper, which an export from another machine is taken to be for.

    Raises:
      ValueError: it does not fit.

    Example:
      >>> tile_of(Kernel(), Sizes(1, 100, 1, 1, 0, 4), None)
      Tile(rows=1, resident=True)
    """
    device = HOPPER if device is None else device
    shared = _SHARED.get(device.capability[0])
    if shared is None:
        raise ValueError(
            f"backend='pallas' is written for GPUs of compute capability 9 and 10, not "
            f"{'.'.join(map(str, device.capability))}: pass backend='auto'"
        )
    rows = kernel.rows
    if rows is None:
        most = max((r for r in range(1, _MOST_ROWS + 1) if _held(sizes, r)), default=1)
        rows = max(1, min(most, -(-sizes.rows // device.processors)))
    if not _held(sizes, rows):
        raise ValueError(
            f"backend='pallas' would need about {sizes.registers(rows)} registers a thread for "
            f"{rows} rows of {sizes.units} units, more than {_REGISTERS - _FREE} of {_REGISTERS}, "
            "beyond which they may spill: pass "
            + ("Kernel(rows=1) or backend='auto'" if rows > 1 else "backend='auto'")
        )
    needed = sizes.matrix + sizes.exchanged(rows) + _RESERVED
    resident = needed <= shared if kernel.resident is None else kernel.resident
    if resident and needed > shared:
        raise ValueError(
            f"the recurrent matrix and {rows} rows take {needed} bytes of shared memory, and a "
            f"block has {shared}: pass Kernel(resident=False) or backend='auto'"
        )
    if not resident and sizes.matrix > _REREAD:
        raise ValueError(
            f"the recurrent matrix of {sizes.units} units takes {sizes.matrix} bytes, more than "
            f"the {_REREAD} that backend='pallas' reads again at every step: pass backend='auto'"
        )
    return Tile(rows, resident)


def _held(sizes: Sizes, rows: int) -> bool:
    return sizes.registers(rows) <= _REGISTERS - _FREE
