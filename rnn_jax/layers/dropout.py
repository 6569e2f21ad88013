"""Dropout between layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.arrays.tokens import is_ids
from rnn_jax.types import Along, Array, Carry, Params

__all__ = ["Dropout", "check_rate", "dropout", "noise_keys"]


def check_rate(name: str, rate: float) -> None:
    """Raise ValueError unless ``rate`` is a probability below one."""
    if not 0 <= rate < 1:
        raise ValueError(f"the {name} must lie in [0, 1), not {rate}")


def noise_keys(key: Array, start: Array | int, length: int) -> Array:
    """One key for each of the absolute steps ``start … start+T-1``.

    Noise then depends on the key and the step alone: cutting a sequence, or recomputing a window
    of it, meets the same noise.
    """
    steps = (start + jnp.arange(length)).astype(jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, steps)


@dataclass(frozen=True)
class Dropout:
    """Hyperparameters of `dropout`, with the pure functions of a `Layer`."""

    rate: float
    variational: bool = False

    def __post_init__(self) -> None:
        check_rate("dropout rate", self.rate)

    @property
    def output_size(self) -> None:
        """None: as many features as come in."""
        return None

    @property
    def causal(self) -> bool:
        """True: every step stands alone."""
        return True

    def init(self, key: Array, input_size: int) -> Params:
        """No parameters: an empty dict."""
        return {}

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """No carry: an empty tuple."""
        return ()

    def apply(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        mask: Array | None = None,
        key: Array | None = None,
        **along: Unpack[Along],
    ) -> tuple[Carry, Array]:
        """``xs`` with features dropped; ``xs`` itself when ``key`` is None."""
        if is_ids(xs):
            raise ValueError(
                f"dropout drops features, not token ids ({xs.dtype}): put it above the first layer "
                "or give the model an embedding"
            )
        check_mask(mask, xs.shape[:-1])
        if key is None or self.rate == 0:
            return (), fill_masked(xs, mask)

        def draw(key: Array) -> Array:
            return jax.random.bernoulli(key, 1 - self.rate, xs.shape[1:])

        if self.variational:
            keep = draw(key)[None]
        else:
            keep = jax.vmap(draw)(noise_keys(key, along.get("start", 0), xs.shape[0]))
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
