"""The carry of a causal layer after every step."""

from __future__ import annotations

from typing import Any, Unpack

import jax
from jax import lax

from rnn_jax.recurrence.gradient_scale import settled
from rnn_jax.recurrence.unroll import batch_shape_of
from rnn_jax.types import Along, Array, Carry, Layer, Params

__all__ = ["all_carries", "initial_or"]


def initial_or(carry: Carry, layer: Layer, params: Params, xs: Array) -> Carry:
    """``carry``, or the layer's initial carry for the batch shape of ``xs`` where it is None."""
    return layer.initial_carry(batch_shape_of(xs), params) if carry is None else carry


def all_carries(
    layer: Layer,
    params: Params,
    carry: Carry,
    xs: Array,
    *,
    mask: Array | None = None,
    key: Array | None = None,
    **along: Unpack[Along],
) -> tuple[Carry, Array]:
    """As ``layer.apply``, but the first result holds the carry after every step: ``[T, B, …]``.

    Args:
      layer: a causal `Layer`. One with a method ``carries`` of the same arguments computes them
        at once; any other is applied one step after the other.
      params: its parameters.
      carry: the carry before the first step, or None.
      xs: ``float[T, B, D]`` or ``int[T, B]``.
      mask: ``bool[T, B]``.
      key: for layers with noise; None for inference.
      **along: see `Along`.

    Returns:
      The carries with a leading time axis, and the outputs ``float[T, B, …]``.

    Raises:
      ValueError: the layer is not causal.

    Example:
      >>> import jax, rnn_jax
      >>> layer = rnn_jax.recurrent(rnn_jax.elman(3))
      >>> params = layer.init(jax.random.key(0), 2)
      >>> carries, ys = all_carries(layer, params, None, jax.numpy.ones((5, 4, 2)))
      >>> carries.shape
      (5, 4, 3)
    """
    if not layer.causal:
        raise ValueError(f"{layer!r} is not causal: it has no carry after each step")
    carry = initial_or(carry, layer, params, xs)
    at_once = getattr(layer, "carries", None)
    if at_once is not None:
        result: tuple[Carry, Array] = at_once(params, carry, xs, mask=mask, key=key, **along)
        return result
    # None has no leaves, so an absent mask or gate stays absent in every step.
    positions = along.get("start", 0) + jax.numpy.arange(xs.shape[0])
    # A masked step by itself would forget what it should hand on to the next valid one.
    gate, resets = settled(along.get("gate"), along.get("resets"), mask, reverse=False)
    sliced = {"gate": gate, "resets": resets}
    steps = jax.tree.map(lambda leaf: leaf[:, None], (xs, mask, sliced))

    def body(carry: Carry, step: tuple[Array, tuple[Array, Array | None, Any]]) -> Any:
        position, (x, valid, options) = step
        options = {**options, "start": position}
        carry, y = layer.apply(params, carry, x, mask=valid, key=key, **options)
        return carry, (carry, y[0])

    _, (carries, ys) = lax.scan(body, carry, (positions, steps))
    return carries, ys
