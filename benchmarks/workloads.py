"""Workloads as data: what is computed, by shape and name, and the random numbers it starts from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = [
    "BATCH_SCALING",
    "CELLS",
    "DEEPBENCH",
    "DTYPES",
    "GENERATION",
    "GENERATION_BATCHES",
    "GRID",
    "HIDDEN_SCALING",
    "PRECISIONS",
    "PUBLISHED",
    "SEQUENCE_SCALING",
    "TRAINING",
    "TRUNCATIONS",
    "VOCABULARY",
    "Arrays",
    "Language",
    "Recurrence",
    "recurrences",
]

Arrays = dict[str, np.ndarray]
Shape = tuple[int, int, int, int]

DTYPES = ("float32", "bfloat16", "float16", "float64")
# Of float32 products. "highest" is float32 itself; on a GPU "high" and "default" are TF32.
PRECISIONS = ("highest", "high", "default")

CELLS = {"rnn": 1, "gru": 3, "lstm": 4}  # and how many gates each has
_GATES = {**CELLS, "relu": 1}  # DeepBench's simple network has a ReLU
# What a cell's equations are in most libraries, by the names of `benchmarks.oracle.EQUATIONS`.
_EQUATIONS = {"rnn": "rnn tanh", "relu": "rnn relu", "gru": "gru reset after", "lstm": "lstm"}

# All shapes are (B, T, H, D). Latency, the book's text, a medium language model, a wide batch, a
# large layer, a long sequence.
GRID: dict[bool, tuple[Shape, ...]] = {
    False: (
        (1, 100, 256, 256),
        (32, 35, 256, 28),
        (20, 35, 650, 650),
        (128, 35, 256, 256),
        (64, 100, 1024, 1024),
        (16, 512, 128, 128),
    ),
    True: ((1, 20, 16, 8), (4, 12, 32, 16)),
}
# Each by whether the run is a quick one.
SEQUENCE_SCALING: dict[bool, tuple[Shape, ...]] = {
    False: tuple((8, 2**n, 128, 128) for n in range(3, 15)),
    True: tuple((4, 8 * 4**n, 32, 32) for n in range(4)),
}
HIDDEN_SCALING: dict[bool, tuple[Shape, ...]] = {
    False: tuple((32, 32, 2**n, 2**n) for n in range(5, 13)),
    True: tuple((4, 8, 32 * 4**n, 32 * 4**n) for n in range(3)),
}
BATCH_SCALING: dict[bool, tuple[Shape, ...]] = {
    False: tuple((2**n, 32, 256, 256) for n in range(11)),
    True: tuple((4**n, 8, 32, 32) for n in range(4)),
}

# Every recurrent problem of DeepBench's training set, (cell, H, B, T). Its input product is left
# out of the time; a layer's smallest input is one feature, so D = 1 on all sides.
DEEPBENCH: tuple[tuple[str, int, int, int], ...] = (
    *(("relu", h, b, 50) for h in (1760, 2048, 2560) for b in (16, 32, 64, 128)),
    *(("lstm", h, b, 25) for h in (512, 1024, 2048, 4096) for b in (16, 32, 64, 128)),
    *(("lstm", 1536, b, 50) for b in (8, 16, 32)),
    *(("lstm", 256, b, 150) for b in (16, 32, 64)),
    *(("gru", h, 32, t) for h in (2816, 2560, 2048, 1536) for t in (1500, 750, 375, 187)),
    ("gru", 1024, 32, 1500),
    ("gru", 1024, 64, 1500),
    ("gru", 512, 32, 1),
)
# Milliseconds in float32, of the forward pass alone and of all passes, as DeepBench gives them:
# V100 in results/train/DeepBench_NV_V100.xlsx, the others (all passes only) in its README.
PUBLISHED: dict[tuple[str, int, int, int], dict[str, tuple[float | None, float]]] = {
    ("lstm", 512, 64, 25): {"published V100": (1.34, 1.34 + 1.26 + 0.44)},
    ("lstm", 1024, 128, 25): {
        "published V100": (3.25, 3.25 + 3.02 + 2.11),
        "published TITAN Xp": (None, 9.76),
    },
    ("lstm", 256, 16, 150): {"published V100": (4.54, 4.54 + 5.07 + 0.22)},
    ("gru", 2816, 32, 1500): {
        "published V100": (223.0, 223.0 + 329.0 + 155.0),
        "published TITAN X Pascal": (None, 1790.75),
    },
    ("relu", 1760, 16, 50): {
        "published V100": (4.20, 4.20 + 2.88 + 0.59),
        "published TITAN X Pascal": (None, 7.75),
    },
    ("relu", 2560, 32, 50): {"published TITAN X Maxwell": (None, 21.99)},
}


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
        """A name of `benchmarks.oracle.EQUATIONS`."""
        return _EQUATIONS[self.cell]

    def facts(self) -> dict[str, Any]:
        """What the rows of every workload say."""
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
        """What every row says of it."""
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


@dataclass(frozen=True)
class Language(_Workload):
    """A language model and the batches that it is trained on: ``E`` is None for one-hot inputs."""

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
    dtype: str = field(default="float32", kw_only=True)
    precision: str = field(default="highest", kw_only=True)
    seed: int = field(default=0, repr=False, kw_only=True)

    @property
    def name(self) -> str:
        """``title-cell-BxTxHxV``, with the truncation if there is one."""
        sizes = f"{self.batch}x{self.length}x{self.hidden}x{self.vocab}"
        cut = "" if self.truncation == "full" else f"-{self.truncation}"
        return f"{self.title}-{self.cell}-{sizes}{cut}"

    def facts(self) -> dict[str, Any]:
        """What every row says of it."""
        return super().facts() | {
            "D": self.embedding,
            "V": self.vocab,
            "layers": self.layers,
            "truncation": self.truncation,
        }

    def arrays(self) -> Arrays:
        """``embedding [V, E]``, the layers' (``w_ih.0`` …), ``w_out [H, V]``, ``b_out [V]``.

        As in `Recurrence.arrays`; embeddings are standard normal.
        """
        rng = np.random.default_rng(self.seed)
        arrays: Arrays = {}
        if self.embedding is not None:
            arrays["embedding"] = rng.standard_normal((self.vocab, self.embedding))
        below = self.embedding or self.vocab
        for index in range(self.layers):
            layer = _layer(rng, self.cell, below, self.hidden)
            arrays |= {f"{name}.{index}": array for name, array in layer.items()}
            below = self.hidden
        arrays["w_out"] = rng.uniform(-1, 1, (below, self.vocab)) / below**0.5
        arrays["b_out"] = rng.uniform(-1, 1, self.vocab) / below**0.5
        return _rounded(arrays, self.dtype)

    def tokens(self, batches: int) -> np.ndarray:
        """``int32[batches, T+1, B]``, uniform over the vocabulary."""
        rng = np.random.default_rng(self.seed + 1)
        shape = (batches, self.length + 1, self.batch)
        return rng.integers(0, self.vocab, shape, np.int32)


# Whole steps: D2L's characters, the reference model's words, Zaremba et al.'s small and medium
# models (without dropout).
TRAINING: dict[bool, tuple[Language, ...]] = {
    False: (
        Language("characters", "gru", 28, 256, 32, 35, learning_rate=1.0, clip=1.0),
        Language("words", "rnn", 8000, 100, 1, 45, 100, learning_rate=0.005),
        Language("ptb-small", "lstm", 10_000, 200, 20, 20, 200, 2, 1.0, 5.0),
        Language("ptb-medium", "lstm", 10_000, 650, 20, 35, 650, 2, 1.0, 5.0),
    ),
    True: (
        Language("characters", "gru", 28, 32, 4, 12, learning_rate=1.0, clip=1.0),
        Language("words", "rnn", 300, 16, 1, 12, 16),
        Language("stack", "lstm", 300, 32, 4, 8, 32, 2, 1.0, 5.0),
    ),
}
VOCABULARY: dict[bool, tuple[Language, ...]] = {
    False: tuple(Language("softmax", "gru", 1024 * 4**n, 128, 4, 35, 128) for n in range(5)),
    True: tuple(Language("softmax", "gru", 256 * 4**n, 32, 4, 12, 32) for n in range(3)),
}
TRUNCATIONS = ("full", "chunked:8", "sliding:4", "tail:8", "randomized:0.9")
GENERATION: dict[bool, tuple[Language, ...]] = {
    False: (
        Language("characters", "gru", 28, 256, 1, 128),
        Language("ptb-medium", "lstm", 10_000, 650, 1, 64, 650, 2),
    ),
    True: (Language("characters", "gru", 28, 32, 1, 16),),
}
GENERATION_BATCHES = {False: (1, 8, 64, 512), True: (1, 16)}


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
