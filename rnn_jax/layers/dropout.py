"""Dropout between layers."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.arrays.noise import every_step, once
from rnn_jax.arrays.tokens import is_ids
from rnn_jax.layers.base import BaseLayer
from rnn_jax.types import Along, Array, Carry, Params

__all__ = ["Dropout", "check_rate", "dropout"]


def check_rate(name: str, rate: float) -> None:
    """Raise ValueError unless ``rate`` is a probability below one."""
    if not 0 <= rate < 1:
        raise ValueError(f"the {name} must lie in [0, 1), not {rate}")


@dataclass(frozen=True)
class Dropout(BaseLayer):
    """Hyperparameters of `dropout`, with the pure functions of a `Layer`."""

    rate: float
    variational: bool = False

    def __post_init__(self) -> None:
        check_rate("dropout rate", self.rate)

    @property
    def noise(self) -> str | None:
        """What it draws, unless the rate is 0."""
        return f"dropout({self.rate})" if self.rate else None

    def init(self, key: Array, input_size: int) -> Params:
        """No parameters: an empty dict."""
        return {}

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """``xs`` with features dropped; ``xs`` itself when ``key`` is None."""
        if is_ids(xs):
            raise ValueError(
                f"dropout drops features, not token ids ({xs.dtype}): put it above the first layer "
                "or give the model an embedding"
            )
        mask = along.mask
        check_mask(mask, xs.shape[:-1])
        if along.key is None or self.rate == 0:
            return (), fill_masked(xs, mask)
        *batch_shape, features = xs.shape[1:]

        def draw(key: Array, rows: tuple[int, ...]) -> Array:
            return jax.random.bernoulli(key, 1 - self.rate, (*rows, features))

        if self.variational:
            keep = once(draw, along, tuple(batch_shape))[None]
        else:
            keep = every_step(draw, along, xs.shape[0], tuple(batch_shape))
        dropped = jnp.where(keep, xs / (1 - self.rate), jnp.zeros((), xs.dtype))
        return (), fill_masked(dropped, mask)


def dropout(rate: float, *, variational: bool = False) -> Dropout:
    """The layer that sets a feature to zero with probability ``rate`` while training.

    ``y = x · m / (1 - rate)``, ``m`` Bernoulli(1 - rate), drawn anew for every step, row and
    feature from ``key`` and the absolute step. With ``key=None`` it is the identity.

    Args:
      rate: the probability of dropping, in ``[0, 1)``.
      variational: one ``m`` for all steps, drawn for every row and feature from ``key`` alone.

    Raises:
      ValueError: the rate lies outside.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> _, ys = dropout(0.5).apply({}, (), jnp.ones((2, 8)), key=jax.random.key(1))
      >>> sorted(set(ys.flatten().tolist()))
      [0.0, 2.0]

    Reference:
      Zaremba, Sutskever and Vinyals, Recurrent neural network regularization, arXiv:1409.2329;
      variational: Gal and Ghahramani, A theoretically grounded application of dropout in recurrent
      neural networks, NeurIPS 2016.
    """
    return Dropout(rate, variational)
