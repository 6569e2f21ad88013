"""Floating-point operations and bytes, counted on paper.

Operations are those of the matrix products, 2 each multiply-add; the pointwise part is left out, as
is usual. Bytes are what no implementation avoids: every input and parameter is read once and every
result written once, the weights staying on the chip between steps.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from benchmarks.measuring.workloads import Language, Recurrence

__all__ = ["Cost", "language_step", "layer_pass"]


class Cost(NamedTuple):
    """What one step costs."""

    flops: float
    bytes: float


def layer_pass(workload: Recurrence, pass_name: str) -> Cost:
    """The cost of a pass of `benchmarks.measuring.implementation.PASSES`.

    Forward ``2TB·G·H·(D + H)``. Backward costs the same twice, for the weights and for what was
    multiplied by them; training does not differentiate by the inputs.

    Example:
      >>> layer_pass(Recurrence("lstm", 1, 10, 4, 3), "forward").flops == 2 * 10 * 16 * (3 + 4)
      True
    """
    b, t, h, d = workload.batch, workload.length, workload.hidden, workload.features
    per_column = 2.0 * t * b * workload.gates * h
    forward = per_column * (d + h)
    parameters = workload.gates * h * (d + h + 1)
    inputs, outputs, size = t * b * d, t * b * h, jnp.dtype(workload.dtype).itemsize
    if pass_name == "forward":
        return Cost(forward, size * (parameters + inputs + outputs))
    flops = 3 * forward - (per_column * d if pass_name == "many-steps" else 0)
    # The loss's weights are read, the outputs written and read again, gradients written.
    written = 0 if pass_name == "many-steps" else inputs
    return Cost(flops, size * (2 * parameters + inputs + written + 3 * outputs))


def language_step(workload: Language) -> Cost:
    """The cost of a training step: recurrent layers, read-out, no products with one-hot vectors."""
    t, b, v = workload.length, workload.batch, workload.vocab
    products, parameters, below = 0.0, 0, workload.embedding
    for h in workload.sizes:
        products += workload.gates * h * (h + (below or 0))
        parameters += workload.gates * h * (h + (below or 0) + 1)
        below = h
    products += h * v
    parameters += (h + 1) * v
    # Only those rows of a table are read whose words occur.
    rows = t * b * (workload.embedding or workload.gates * workload.hidden)
    size = jnp.dtype(workload.dtype).itemsize
    return Cost(6.0 * t * b * products, size * 2 * (parameters + rows))
