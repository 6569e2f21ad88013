"""Dropout on the recurrent matrix."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rnn_jax.host.checks import member
from rnn_jax.layers.base import check_layer, run
from rnn_jax.layers.dropout import check_rate
from rnn_jax.layers.wrapper import Wrapper
from rnn_jax.types import Along, Array, Carry, Layer, Params

__all__ = ["WeightDrop", "weight_drop"]


@dataclass(frozen=True)
class WeightDrop(Wrapper):
    """Hyperparameters of `weight_drop`, with the pure functions of a `Layer`."""

    rate: float

    def __post_init__(self) -> None:
        check_rate("weight drop rate", self.rate)

    @property
    def noise(self) -> str | None:
        """What it draws, unless the rate is 0."""
        return f"weight_drop({self.rate})" if self.rate else None

    def init(self, key: Array, input_size: int) -> Params:
        """The layer's parameters, which must hold ``w_hh``."""
        params = self.layer.init(key, input_size)
        if "w_hh" not in params:
            raise ValueError(
                f"weight_drop() needs a layer with one recurrent matrix w_hh, not {self.layer!r}: "
                "wrap the recurrent(cell) inside"
            )
        return params

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The layer with entries of ``w_hh`` dropped; itself when ``key`` is None."""
        params, key = self._dropped(params, along.key)
        return run(self.layer, params, carry, xs, along._replace(key=key), every=every)

    def _dropped(self, params: Params, key: Array | None) -> tuple[Params, Array | None]:
        if key is None:
            return params, None
        key, noise = jax.random.split(key)
        w = member(self.layer, params, "w_hh")
        keep = jax.random.bernoulli(noise, 1 - self.rate, w.shape)
        dropped = jnp.where(keep, w / (1 - self.rate), jnp.zeros((), w.dtype))
        return {**params, "w_hh": dropped}, key


def weight_drop(layer: Layer, rate: float) -> WeightDrop:
    """A recurrent layer whose recurrent matrix loses entries while training (DropConnect).

    ``W_hh ← W_hh ⊙ M / (1 - rate)``, ``M`` Bernoulli(1 - rate), drawn from ``key`` alone: the same
    for all rows and all steps, wherever a sequence is cut. With ``key=None`` nothing is dropped.

    Parameters and carry are the layer's.

    Args:
      layer: a `Layer` whose parameters hold ``w_hh``, such as ``recurrent(lstm(100))``.
      rate: the probability of dropping an entry, in ``[0, 1)``.

    Raises:
      ValueError: something that is not a layer, or a rate outside. ``init`` raises it for a layer
        without ``w_hh``.

    Example:
      >>> import jax, rnn_jax
      >>> layer = weight_drop(rnn_jax.recurrent(rnn_jax.lstm(3)), 0.5)
      >>> params = layer.init(jax.random.key(0), 2)
      >>> layer.apply(params, None, jax.numpy.ones((5, 4, 2)), key=jax.random.key(1))[1].shape
      (5, 4, 3)

    Reference:
      Merity, Keskar and Socher, Regularizing and optimizing LSTM language models,
      arXiv:1708.02182.
    """
    check_layer("weight_drop", layer)
    return WeightDrop(layer, rate)
