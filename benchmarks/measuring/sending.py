"""What a data-parallel step sends and waits for, on paper.

A step of rnn_jax hands its whole gradient and the loss to one all-reduce, behind the backward pass.
In a ring of n devices each sends 2(n-1)/n of its S bytes, in 2(n-1) rounds of one hop:

    t(n) = 2(n-1)/n · S/w + 2(n-1) · l

with w bytes a second one way and l seconds a hop (Patarasuk and Yuan, Bandwidth optimal all-reduce
algorithms for clusters of workstations, 2009). What S is, is read from compiled programs by a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.groups.deepbench import PUBLISHED
from benchmarks.measuring import flops
from benchmarks.measuring.workloads import Language, Recurrence
from benchmarks.peers.language_ours import model_of

__all__ = [
    "COUNTS",
    "LINKS",
    "MODELS",
    "Link",
    "Machine",
    "dense_table_bytes",
    "gradient_bytes",
    "parameters",
    "plain_scan_bytes",
    "published_machine",
    "ring_seconds",
    "touched_rows_bytes",
]

COUNTS = (8, 64, 512)
_SINGLE = 4  # bytes of a number of a gradient, which is summed in float32 at least

# The models of the group of whole steps, and one with a vocabulary of subwords in many languages.
MODELS = (
    Language("characters", "gru", 28, 256, 32, 35),
    Language("embedded words", "rnn", 8000, 100, 1, 45, 100),
    Language("ptb-small", "lstm", 10_000, 200, 20, 20, 200, 2),
    Language("ptb-medium", "lstm", 10_000, 650, 20, 35, 650, 2),
    Language("awd", "lstm", 10_000, 1150, 20, 70, 400, 3, tied=True),
    Language("large vocabulary", "lstm", 262_144, 1024, 32, 35, 512, 2),
)


class Link(NamedTuple):
    """How devices are joined: bytes a second one way, seconds a hop, and how many it joins."""

    name: str
    bandwidth: float
    latency: float
    most: int
    source: str


# Latencies of GPUs are those that NCCL reckons with in rings, protocol Simple (`hwLat` in
# src/graph/tuning.cc of NVIDIA/nccl at 01afd20), for its own choice of algorithms.
LINKS = (
    Link("NVLink", 450e9, 3.4e-6, 8, "H100: 900 GB/s both ways; NCCL's 3.4 µs; 8 GPUs a machine"),
    Link("PCIe", 64e9, 5.7e-6, 8, "PCIe 5.0 x16: 128 GB/s both ways; NCCL's 5.7 µs; one machine"),
    Link("Ethernet", 12.5e9, 9.6e-6, 1 << 20, "100 Gbit/s for each device; NCCL's 9.6 µs"),
    Link(
        "TPU ICI", 100e9, 1e-6, 8960,
        "v5p: 1,200 GB/s both ways over 6 links, of which one; 1 µs as in How to Scale Your Model",
    ),
)  # fmt: skip


def parameters(workload: Language) -> int:
    """How many numbers the model has.

    Example:
      >>> parameters(Language("", "rnn", 7, 3, 1, 1)) == 7 * 3 + 3 * 3 + 3 + 3 * 7 + 7
      True
    """
    return sum(leaf.size for leaf in _leaves(workload))


def gradient_bytes(workload: Language) -> int:
    """What each device hands to the all-reduce of a step: gradients and the loss."""
    size = max(_SINGLE, jnp.dtype(workload.dtype).itemsize)
    return (parameters(workload) + 1) * size


def _leaves(workload: Language) -> list[Any]:
    shapes = jax.eval_shape(model_of(workload).init, jax.random.key(0))
    return jax.tree.leaves(shapes)


def plain_scan_bytes(workload: Language) -> int:
    """The same of a plain scan, differentiated: recurrent matrices are summed in every step."""
    recurrent = sum(workload.gates * size * size for size in workload.sizes)
    return gradient_bytes(workload) + (workload.length - 1) * recurrent * _SINGLE


def ring_seconds(size: float, link: Link, count: int) -> float:
    """Seconds of a ring all-reduce of ``size`` bytes.

    Example:
      >>> ring_seconds(1e9, Link("", 1e9, 0.5, 8, ""), 2)
      2.0
    """
    return 2 * (count - 1) * (size / count / link.bandwidth + link.latency)


def dense_table_bytes(workload: Language, count: int) -> float:
    """What a device sends of the gradient of the whole embedding, in a ring."""
    assert workload.embedding is not None
    return 2 * (count - 1) / count * workload.vocab * workload.embedding * _SINGLE


def touched_rows_bytes(workload: Language, count: int) -> float:
    """What it sends where every device gets the ids of all others and their rows' gradients.

    In a ring, each of the n - 1 times the rows of one device; rows that occur twice count twice.
    """
    assert workload.embedding is not None
    rows = workload.batch * workload.length
    return (count - 1) * rows * (workload.embedding + 1) * _SINGLE


@dataclass(frozen=True)
class Machine:
    """A device: operations a second, and seconds a step in time that no small batch goes below."""

    rate: float
    step: float

    def compute_seconds(self, workload: Language, rows: float) -> float:
        """Forward and backward of so many rows."""
        return max(rows * row_flops(workload) / self.rate, self.floor(workload))

    def floor(self, workload: Language) -> float:
        """The least that steps one after the other take, layer after layer."""
        return workload.length * workload.layers * self.step

    def busy_rows(self, workload: Language) -> int:
        """From how many rows on a device's time grows with them."""
        return math.ceil(self.floor(workload) * self.rate / row_flops(workload))

    def hiding_rows(self, workload: Language, seconds: float) -> int:
        """The fewest rows of a device whose computing takes so long."""
        if self.floor(workload) >= seconds:
            return 1
        return math.ceil(seconds * self.rate / row_flops(workload))


def row_flops(workload: Language) -> float:
    """Operations of a training step for each row of the batch."""
    return flops.language_step(replace(workload, batch=1)).flops


def published_machine() -> Machine:
    """A V100 by DeepBench's own times of cuDNN in float32.

    The rate is that of its LSTM of 1024 units and 128 rows, whose input product is not in the time;
    the seconds a step are those of 256 units and 16 rows.
    """
    name = "published V100"
    (_, wide), (_, narrow) = (
        PUBLISHED[problem][name] for problem in (("lstm", 1024, 128, 25), ("lstm", 256, 16, 150))
    )
    products = flops.layer_pass(Recurrence("lstm", 128, 25, 1024, 0), "forward+backward")
    return Machine(products.flops / (wide / 1e3), narrow / 1e3 / 150)
