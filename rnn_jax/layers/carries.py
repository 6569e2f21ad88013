"""The carry of a causal layer after every step."""

from __future__ import annotations

from typing import Never

from rnn_jax.host.checks import check_renamed
from rnn_jax.layers.base import adapted
from rnn_jax.types import Array, Carry, Layer, Model, Params, Share

__all__ = ["all_carries"]


def all_carries(
    layer: Layer | Model,
    params: Params,
    carry: Carry,
    xs: Array,
    *,
    mask: Array | None = None,
    key: Array | None = None,
    gradient_scale: Array | None = None,
    start: Array | int = 0,
    rows: Array | int | Share | None = None,
    resets: Array | None = None,
    **renamed: Never,
) -> tuple[Carry, Array]:
    """As ``layer.apply``, but the first result holds the carry after every step: ``[T, B, …]``.

    Args:
      layer: a causal `Layer` or `Model`. A `BaseLayer` computes them at once; any other is applied
        one step after the other.
      params: its parameters.
      carry: the carry before the first step, or None.
      xs: ``float[T, B, D]`` or ``int[T, B]``.
      mask: ``bool[T, B]``.
      key: for layers with noise; None for inference.
      gradient_scale, start, rows, resets: see `Along`.

    Returns:
      The carries with a leading time axis, and the outputs ``float[T, B, …]``.

    Raises:
      ValueError: the layer is not causal.
      TypeError: an unknown keyword.

    Example:
      >>> import jax, rnn_jax
      >>> layer = rnn_jax.recurrent(rnn_jax.elman(3))
      >>> params = layer.init(jax.random.key(0), 2)
      >>> carries, ys = all_carries(layer, params, None, jax.numpy.ones((5, 4, 2)))
      >>> carries.shape
      (5, 4, 3)
    """
    check_renamed("all_carries", renamed)
    return adapted(layer).carries(
        params,
        carry,
        xs,
        mask=mask,
        key=key,
        gradient_scale=gradient_scale,
        start=start,
        rows=rows,
        resets=resets,
    )
