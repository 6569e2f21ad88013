"""Workloads as data: what is computed, by shape and name, and the random numbers it starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["CELLS", "GRID", "QUICK", "Arrays", "Recurrence", "recurrences"]

Arrays = dict[str, np.ndarray]

CELLS = {"rnn": 1, "gru": 3, "lstm": 4}  # and how many gates each has

# (B, T, H, D): latency, the book's text, a medium language model, a wide batch, a large layer, a
# long sequence.
GRID = (
    (1, 100, 256, 256),
    (32, 35, 256, 28),
    (20, 35, 650, 650),
    (128, 35, 256, 256),
    (64, 100, 1024, 1024),
    (16, 512, 128, 128),
)
QUICK = ((1, 20, 16, 8), (4, 12, 32, 16))


@dataclass(frozen=True)
class Recurrence:
    """One recurrent layer over one batch; ``cell`` is a name of `CELLS`."""

    cell: str
    batch: int
    length: int
    hidden: int
    features: int
    seed: int = field(default=0, repr=False)

    @property
    def name(self) -> str:
        """``cell-BxTxHxD``."""
        return f"{self.cell}-{self.batch}x{self.length}x{self.hidden}x{self.features}"

    def facts(self) -> dict[str, Any]:
        """What every row says of it."""
        return {
            "workload": self.name,
            "cell": self.cell,
            "B": self.batch,
            "T": self.length,
            "H": self.hidden,
            "D": self.features,
            "dtype": "float32",
        }

    def arrays(self) -> Arrays:
        """What every implementation starts from, float32.

        Parameters in the layout of rnn_jax, uniform in ±1/√fan-in: ``w_ih [D, G·H]``,
        ``w_hh [H, G·H]``, ``b [G·H]`` (gates i, f, g, o or r, z, n), for the GRU ``b_hn [H]``
        inside the reset product. ``xs [T, B, D]`` and the loss's ``weights [T, B, H]`` are
        standard normal.
        """
        rng = np.random.default_rng(self.seed)
        steps, size, columns = (
            (self.length, self.batch),
            self.hidden,
            CELLS[self.cell] * self.hidden,
        )
        arrays = {
            "w_ih": rng.uniform(-1, 1, (self.features, columns)) / self.features**0.5,
            "w_hh": rng.uniform(-1, 1, (size, columns)) / size**0.5,
            "b": rng.uniform(-1, 1, columns) / size**0.5,
            "xs": rng.standard_normal((*steps, self.features)),
            "weights": rng.standard_normal((*steps, size)),
        }
        if self.cell == "gru":
            arrays["b_hn"] = rng.uniform(-1, 1, size) / size**0.5
        return {name: array.astype(np.float32) for name, array in arrays.items()}


def recurrences(
    shapes: tuple[tuple[int, int, int, int], ...], cells: tuple[str, ...] = tuple(CELLS)
) -> list[Recurrence]:
    """Every shape with every cell."""
    return [Recurrence(cell, *shape) for cell in cells for shape in shapes]
