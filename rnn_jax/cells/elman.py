"""The simple recurrent network of Elman."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

import jax.numpy as jnp

from rnn_jax.cells.gated import CellOptions
from rnn_jax.cells.layer_norm import LayerNormElman
from rnn_jax.cells.pointwise import PointwiseCell
from rnn_jax.types import Array, Carry, Params

__all__ = ["Elman", "elman"]


@dataclass(frozen=True)
class Elman(PointwiseCell):
    """Hyperparameters of `elman`, with the pure functions of a `Cell`."""

    activation: Callable[[Array], Array] = jnp.tanh

    def pointwise(
        self, theta: Params, carry: Carry, z: tuple[Array, ...], r: tuple[Array, ...]
    ) -> tuple[Carry, Array]:
        """``h_t = φ(z_t + r_t)``; the output is the carry."""
        h = self.activation(z[0] + r[0])
        return h, h


def elman(
    hidden_size: int,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    layer_norm: bool = False,
    **options: Unpack[CellOptions],
) -> Elman | LayerNormElman:
    """The simple recurrent network: one hidden vector, fed back.

    ``h_t = φ(x_t W_ih + h_{t-1} W_hh + b)``, ``y_t = h_t``.

    Parameters: ``{"w_ih": [D, H], "w_hh": [H, H], "b": [H]}`` (no "b" with ``bias=False``);
    matrices uniform in ±1/√fan-in, bias zero.

    Args:
      hidden_size: ``H``.
      activation: ``φ``, of one number, for instance ``jnp.tanh``, ``jax.nn.relu``,
        ``jax.nn.sigmoid``.
      layer_norm: whether the sum of both products is normalised; see `LayerNormElman`.
      **options: see `CellOptions`.

    Returns:
      A `Cell`; its carry is ``h [B, H]``.

    Raises:
      ValueError: ``hidden_size`` is not a positive integer.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.elman(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnn_jax.unroll(cell, params, None, jax.numpy.ones((5, 4, 2)))
      >>> carry.shape, ys.shape
      ((4, 3), (5, 4, 3))

    Reference:
      Elman, Finding structure in time, Cognitive Science 14 (1990).
    """
    return (LayerNormElman if layer_norm else Elman)(hidden_size, activation, **options)
