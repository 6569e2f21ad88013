"""Workloads as data: what is computed, by shape and name, and the random numbers it starts from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

__all__ = [
    "CELLS",
    "DTYPES",
    "OPTIMIZERS",
    "PRECISIONS",
    "Arrays",
    "Language",
    "Noise",
    "Recurrence",
    "Shape",
    "recurrences",
]

Arrays = dict[str, np.ndarray]
Shape = tuple[int, int, int, int]  # B, T, H, D

DTYPES = ("float32", "bfloat16", "float16", "float64")
# Of float32 products: "highest" is float32 itself; on a GPU "high" and "default" are TF32.
PRECISIONS = ("highest", "high", "default")

OPTIMIZERS = ("sgd", "adam")

CELLS = {"rnn": 1, "gru": 3, "lstm": 4}  # and how many gates each has
_GATES = {**CELLS, "relu": 1}  # DeepBench's simple network has a ReLU
# What a cell's equations are in most libraries: names of `benchmarks.measuring.oracle.EQUATIONS`.
_EQUATIONS = {"rnn": "rnn tanh", "relu": "rnn relu", "gru": "gru reset after", "lstm": "lstm"}


class _Workload:
    """What follows from the fields that every workload has."""

    cell: str
    batch: int
    length: int
    hidden: int
    dtype: str
    precision: str
    name: Any

    @property
    def gates(self) -> int:
        """Blocks of H columns in a weight matrix."""
        return _GATES[self.cell]

    @property
    def equations(self) -> str:
        """A name of `benchmarks.measuring.oracle.EQUATIONS`."""
        return _EQUATIONS[self.cell]

    def facts(self) -> dict[str, Any]:
        """What the rows of every workload state."""
        return {
            "workload": self.name,
            "cell": self.cell,
            "B": self.batch,
            "T": self.length,
            "H": self.hidden,
            "dtype": self.dtype,
            "precision": self.precision,
        }


@dataclass(frozen=True)
class Recurrence(_Workload):
    """One recurrent layer over one batch; ``cell`` is a name of `CELLS`, or "relu"."""

    cell: str
    batch: int
    length: int
    hidden: int
    features: int
    dtype: str = field(default="float32", kw_only=True)
    precision: str = field(default="highest", kw_only=True)
    seed: int = field(default=0, repr=False, kw_only=True)

    @property
    def name(self) -> str:
        """``cell-BxTxHxD``."""
        return f"{self.cell}-{self.batch}x{self.length}x{self.hidden}x{self.features}"

    def facts(self) -> dict[str, Any]:
        """What every row states about it."""
        return super().facts() | {"D": self.features, "layers": 1}

    def arrays(self) -> Arrays:
        """What every implementation starts from, rounded to the dtype.

        Parameters in the layout of rnn_jax, uniform in ±1/√fan-in: ``w_ih [D, G·H]``,
        ``w_hh [H, G·H]``, ``b [G·H]`` (gates i, f, g, o or r, z, n), for the GRU ``b_hn [H]``
        inside the reset product. ``xs [T, B, D]`` and the loss's ``weights [T, B, H]`` are
        standard normal.
        """
        rng = np.random.default_rng(self.seed)
        steps = (self.length, self.batch)
        arrays = _layer(rng, self.cell, self.features, self.hidden)
        arrays["xs"] = rng.standard_normal((*steps, self.features))
        arrays["weights"] = rng.standard_normal((*steps, self.hidden))
        return _rounded(arrays, self.dtype)


class Noise(NamedTuple):
    """Rates of dropout in training, as in AWD-LSTM.

    Those of features are the same for all steps of a row, and of the recurrent matrices entries are
    dropped. The defaults are Merity et al.'s for Penn Treebank.
    """

    inputs: float = 0.4
    between: float = 0.25
    outputs: float = 0.4
    weights: float = 0.5


@dataclass(frozen=True)
class Language(_Workload):
    """A language model and the batches that it is trained on: ``E`` is None for one-hot inputs.

    optimizer: of `OPTIMIZERS`, after clipping by the global norm if there is a ``clip``.
    tied: whether the read-out is the embedding, transposed; the last layer then has E units.
    """

    title: str
    cell: str
    vocab: int
    hidden: int
    batch: int
    length: int
    embedding: int | None = None
    layers: int = 1
    learning_rate: float = 0.5
    clip: float | None = None
    truncation: str = "full"
    optimizer: str = field(default="sgd", kw_only=True)
    tied: bool = field(default=False, kw_only=True)
    noise: Noise | None = field(default=None, kw_only=True)
    dtype: str = field(default="float32", kw_only=True)
    precision: str = field(default="highest", kw_only=True)
    seed: int = field(default=0, repr=False, kw_only=True)

    @property
    def name(self) -> str:
        """``title-cell-BxTxHxV``, then what there is of optimiser, noise and truncation."""
        further = {
            self.optimizer: self.optimizer != "sgd",
            "noise": self.noise is not None,
            self.truncation: self.truncation != "full",
        }
        sizes = f"{self.batch}x{self.length}x{self.hidden}x{self.vocab}"
        return "-".join(
            [self.title, self.cell, sizes, *(name for name, is_so in further.items() if is_so)]
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The units of each layer."""
        below = (self.hidden,) * (self.layers - 1)
        return (*below, self.embedding if self.tied and self.embedding else self.hidden)

    def facts(self) -> dict[str, Any]:
        """What every row states about it."""
        return super().facts() | {
            "D": self.embedding,
            "V": self.vocab,
            "layers": self.layers,
            "truncation": self.truncation,
        }

    def arrays(self) -> Arrays:
        """``embedding [V, E]``, the layers' (``w_ih.0`` …), ``w_out [H, V]``, ``b_out [V]``.

        As in `Recurrence.arrays`; embeddings are standard normal, and there is no ``w_out`` where
        they are the read-out, too.
        """
        rng = np.random.default_rng(self.seed)
        arrays: Arrays = {}
        if self.embedding is not None:
            arrays["embedding"] = rng.standard_normal((self.vocab, self.embedding))
        below = self.embedding or self.vocab
        for index, size in enumerate(self.sizes):
            layer = _layer(rng, self.cell, below, size)
            arrays |= {f"{name}.{index}": array for name, array in layer.items()}
            below = size
        if not self.tied:
            arrays["w_out"] = rng.uniform(-1, 1, (below, self.vocab)) / below**0.5
        arrays["b_out"] = rng.uniform(-1, 1, self.vocab) / below**0.5
        return _rounded(arrays, self.dtype)

    def tokens(self, batches: int) -> np.ndarray:
        """``int32[batches, T+1, B]``, uniform over the vocabulary."""
        rng = np.random.default_rng(self.seed + 1)
        shape = (batches, self.length + 1, self.batch)
        return rng.integers(0, self.vocab, shape, np.int32)


def recurrences(
    shapes: Iterable[Shape],
    cells: Iterable[str] = tuple(CELLS),
    *,
    dtype: str = "float32",
    precision: str = "highest",
) -> list[Recurrence]:
    """Every shape with every cell."""
    shapes = tuple(shapes)
    return [
        Recurrence(cell, *shape, dtype=dtype, precision=precision)
        for cell in cells
        for shape in shapes
    ]


def _layer(rng: np.random.Generator, cell: str, features: int, size: int) -> Arrays:
    columns = _GATES[cell] * size
    arrays = {
        "w_ih": rng.uniform(-1, 1, (features, columns)) / features**0.5,
        "w_hh": rng.uniform(-1, 1, (size, columns)) / size**0.5,
        "b": rng.uniform(-1, 1, columns) / size**0.5,
    }
    if cell == "gru":
        arrays["b_hn"] = rng.uniform(-1, 1, size) / size**0.5
    return arrays


def _rounded(arrays: Arrays, dtype: str) -> Arrays:
    return {name: array.astype(jnp.dtype(dtype)) for name, array in arrays.items()}
