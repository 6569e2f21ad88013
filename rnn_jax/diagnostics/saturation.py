"""How far open and shut the gates of a cell are."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.arrays.products import affine
from rnn_jax.cells import (
    GRUAfter,
    GRUBefore,
    LayerNormGRU,
    LayerNormLSTM,
    MinGRU,
    MinLSTM,
    PeepholeLSTM,
)
from rnn_jax.cells.memory import MemoryCell
from rnn_jax.diagnostics.states import carries_before
from rnn_jax.host.checks import positive
from rnn_jax.recurrence.unroll import batch_shape_of, unroll_carries
from rnn_jax.types import Array, Carry, Cell, Params

__all__ = ["HIGH", "LOW", "GateSaturation", "gate_saturation"]

# Cells of the form [gates] = x W_ih + h W_hh, and those whose gates see the input alone.
_RECURRENT = MemoryCell | GRUAfter | GRUBefore | LayerNormGRU
_LINEAR = MinGRU | MinLSTM

# The bounds of the paper below: shut, and open.
LOW, HIGH = 0.1, 0.9


class GateSaturation(NamedTuple):
    """Histograms of a cell's ``G`` gates; made by `gate_saturation`.

    gates: their names, in the cell's order.
    edges: ``float[N + 1]``, the bins' bounds from 0 to 1.
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

    A forget gate of an LSTM near one remembers and lets the gradient pass; so does an update gate z
    of a GRU. A gate that is always saturated learns slowly: its derivative is near zero.

    Args:
      cell: an LSTM (gates i, f, o), a GRU (r, z), in any of their variants, `min_gru` (z, as it
        stands there: near zero it remembers) or `min_lstm` (f and i, as they are normalised: they
        add up to one).
      params: its parameters.
      carry: the carry before the first step, or None for the initial one.
      xs: ``float[T, B, D]`` or ``int[T, B]``.
      mask: ``bool[T, B]``; masked steps are not counted.
      bins: ``N``, how many bins of equal width.

    Returns:
      A `GateSaturation`; all fractions are zero where there is no valid step.

    Raises:
      ValueError: the cell has no gates that are known here, ``bins`` is not a positive integer, or
        the mask has another shape than the inputs' steps and rows.

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
    if not isinstance(cell, _RECURRENT | _LINEAR):
        raise ValueError(
            f"gate_saturation() takes an LSTM or GRU cell, not {cell!r}: of a layer pass its cell"
        )
    check_mask(mask, (xs.shape[0], *batch_shape_of(xs)))
    if carry is None:
        carry = cell.initial_carry(batch_shape_of(xs), params)
    names = _names(cell)
    counts = _counts(cell, bins, params, carry, xs, mask)
    return GateSaturation(names, jnp.linspace(0, 1, bins + 1), *counts)


def _names(cell: Cell) -> tuple[str, ...]:
    if isinstance(cell, MemoryCell):
        return ("i", "f", "o")
    if isinstance(cell, _LINEAR):
        return ("z",) if isinstance(cell, MinGRU) else ("f", "i")
    return ("r", "z")


@partial(jax.jit, static_argnums=(0, 1))
def _counts(
    cell: Any, bins: int, params: Params, carry: Carry, xs: Array, mask: Array | None
) -> tuple[Array, Array, Array]:
    """Histogram, low and high; see `GateSaturation`."""
    shape = (xs.shape[0], *batch_shape_of(xs))
    valid = (jnp.ones(shape, bool) if mask is None else mask).reshape(-1, 1)
    gates = _activations(cell, params, carry, xs, mask)
    rows = [gate.reshape(len(valid), cell.hidden_size) for gate in gates]
    count = jnp.maximum(valid.sum(), 1)

    def histogram(gate: Array) -> Array:
        places = jnp.clip((gate * bins).astype(int), 0, bins - 1)
        counted = jnp.broadcast_to(valid, gate.shape).astype(int)
        return jnp.zeros(bins, int).at[places].add(counted) / (count * cell.hidden_size)

    return (
        jnp.stack([histogram(gate) for gate in rows]),
        jnp.stack([(valid & (gate < LOW)).sum(0) / count for gate in rows]),
        jnp.stack([(valid & (gate > HIGH)).sum(0) / count for gate in rows]),
    )


def _activations(
    cell: Any, params: Params, carry: Carry, xs: Array, mask: Array | None
) -> tuple[Array, ...]:
    """``[T, B, H]`` each, as `_names` names them; what masked steps hold means nothing."""
    zs = cell.project(params, fill_masked(xs, mask))
    if isinstance(cell, _LINEAR):
        keep, _ = cell.coefficients(params, zs)
        return (1 - keep,) if isinstance(cell, MinGRU) else (keep, 1 - keep)
    after, _ = unroll_carries(cell, params, carry, xs, mask=mask)
    before = carries_before(carry, after)
    h = before[0] if isinstance(cell, MemoryCell) else before
    if isinstance(cell, LayerNormLSTM | LayerNormGRU):
        sums = cell.split(zs + cell.recur(params, h))
    else:
        sums = cell.split(zs + affine(h, params["w_hh"], params.get("b_hh")))
    if not isinstance(cell, MemoryCell):
        return jax.nn.sigmoid(sums[0]), jax.nn.sigmoid(sums[1])
    i, f, _, o = sums
    if isinstance(cell, PeepholeLSTM):
        axes = (1,) * (i.ndim - 1) + (-1,)
        peephole = {name: p.reshape(axes) for name, p in cell.theta(params).items()}
        i, f = i + peephole["i"] * before[1], f + peephole["f"] * before[1]
        o = o + peephole["o"] * after[1]
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f + cell.forget_bias), jax.nn.sigmoid(o)
