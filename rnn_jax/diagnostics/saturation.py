"""How far open the gates of a cell are."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.cells.gated import GatedCell
from rnn_jax.cells.linear import LinearCell
from rnn_jax.diagnostics.states import carries_before
from rnn_jax.host.checks import positive
from rnn_jax.recurrence.unroll import batch_shape_of, unroll_carries
from rnn_jax.types import Array, Carry, Cell, Params

__all__ = ["HIGH", "LOW", "GateSaturation", "gate_saturation"]

# The paper's bounds: a gate below the first is shut, above the second open.
LOW, HIGH = 0.1, 0.9


class GateSaturation(NamedTuple):
    """Histograms of a cell's ``G`` gates; made by `gate_saturation`.

    gates: their names, in the cell's order.
    edges: ``float[N + 1]``, the edges of the bins, from 0 to 1.
    histogram: ``float[G, N]``, the fraction of all valid steps, rows and units in each bin.
    low: ``float[G, H]``, for each unit the fraction of valid steps and rows at which the gate is
      below 0.1.
    high: ``float[G, H]``, the same above 0.9.
    """

    gates: tuple[str, ...]
    edges: Array
    histogram: Array
    low: Array
    high: Array


def gate_saturation(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    *,
    mask: Array | None = None,
    bins: int = 20,
) -> GateSaturation:
    """Where the gates of a cell lie between shut, 0, and open, 1, along a sequence.

    An LSTM whose forget gate is near one remembers and lets the gradient pass; so does a GRU whose
    update gate z is near one. A gate that is always saturated learns slowly: its derivative is near
    zero.

    Args:
      cell: an LSTM (gates i, f, o) or a GRU (r, z) in any variant, `min_gru` (z, in the sense of
        its paper: near zero it remembers) or `min_lstm` (f and i, normalised to add up to one); or
        a cell of your own that declares ``gate_names``, as `GatedCell` describes.
      params: its parameters.
      carry: the carry before the first step, or None for the initial one.
      xs: ``float[T, B, D]`` or ``int[T, B]``.
      mask: ``bool[T, B]``; masked steps are not counted.
      bins: ``N``, the number of bins of equal width.

    Returns:
      A `GateSaturation`; all fractions are zero where there is no valid step.

    Raises:
      ValueError: the cell declares no gates, ``bins`` is not a positive integer, or the shape of
        the mask is not that of the inputs' steps and rows.

    Example:
      >>> import jax, rnn_jax
      >>> from rnn_jax.diagnostics import gate_saturation
      >>> cell = rnn_jax.lstm(3, forget_bias=5.0)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> saturation = gate_saturation(cell, params, None, jax.numpy.ones((5, 4, 2)))
      >>> saturation.gates, saturation.high[1].tolist()
      (('i', 'f', 'o'), [1.0, 1.0, 1.0])

    Reference:
      Karpathy, Johnson and Fei-Fei, Visualizing and understanding recurrent networks,
      arXiv:1506.02078 (2015), figure 3.
    """
    positive(bins=bins)
    if not isinstance(cell, GatedCell | LinearCell) or not cell.gate_names:
        raise ValueError(
            "gate_saturation() takes a cell that declares its gates, such as an LSTM or a GRU, "
            f"not {cell!r}: to inspect a layer, pass its cell"
        )
    check_mask(mask, (xs.shape[0], *batch_shape_of(xs)))
    if carry is None:
        carry = cell.initial_carry(batch_shape_of(xs), params)
    counts = _counts(cell, bins, params, carry, xs, mask)
    return GateSaturation(cell.gate_names, jnp.linspace(0, 1, bins + 1), *counts)


@partial(jax.jit, static_argnums=(0, 1))
def _counts(
    cell: Cell, bins: int, params: Params, carry: Carry, xs: Array, mask: Array | None
) -> tuple[Array, Array, Array]:
    """Histogram, low and high; see `GateSaturation`."""
    shape = (xs.shape[0], *batch_shape_of(xs))
    valid = (jnp.ones(shape, bool) if mask is None else mask).reshape(-1, 1)
    gates = [
        gate.reshape(len(valid), gate.shape[-1])
        for gate in _activations(cell, params, carry, xs, mask)
    ]
    count = jnp.maximum(valid.sum(), 1)

    def histogram(gate: Array) -> Array:
        bin_index = jnp.clip((gate * bins).astype(int), 0, bins - 1)
        counted = jnp.broadcast_to(valid, gate.shape).astype(int)
        total = count * gate.shape[-1]
        return jnp.zeros(bins, int).at[bin_index].add(counted) / total

    return (
        jnp.stack([histogram(gate) for gate in gates]),
        jnp.stack([(valid & (gate < LOW)).sum(0) / count for gate in gates]),
        jnp.stack([(valid & (gate > HIGH)).sum(0) / count for gate in gates]),
    )


def _activations(
    cell: Cell, params: Params, carry: Carry, xs: Array, mask: Array | None
) -> tuple[Array, ...]:
    """``[T, B, H]`` for each gate; the values at masked steps mean nothing."""
    assert isinstance(cell, GatedCell | LinearCell)  # `gate_saturation` has checked it
    after, _ = unroll_carries(cell, params, carry, xs, mask=mask)
    z = cell.project(params, fill_masked(xs, mask))
    return cell.gate_activations(params, carries_before(carry, after), after, z)
