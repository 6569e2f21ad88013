"""Plain gradient descent, recognisable as such."""

from __future__ import annotations

import math

import optax

__all__ = ["PlainSGD", "sgd"]


class PlainSGD(optax.GradientTransformation):
    """An optax optimiser whose update is ``-η g`` and nothing else.

    A row of the input matrix that a batch does not use has no gradient, and this optimiser then
    leaves it alone: `make_train_step` updates the used rows only.
    """


def sgd(rate: float) -> PlainSGD:
    """Plain gradient descent ``p ← p - η ∇p``, without momentum, decay or clipping.

    As ``optax.inject_hyperparams(optax.sgd)``, so that the learning rate stands in the optimiser's
    state; with it a train step touches only those rows of the input matrix that the batch uses.

    Args:
      rate: ``η``, the learning rate.

    Raises:
      ValueError: it is no number, or not finite.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> optimizer = sgd(0.5)
      >>> params = {"w": jnp.array([1.0, 2.0])}
      >>> updates, state = optimizer.update(params, optimizer.init(params))
      >>> optax.apply_updates(params, updates)["w"]
      Array([0.5, 1. ], dtype=float32)
    """
    number = isinstance(rate, int | float)
    # Arrays, traced ones too, and schedules are optax's to take.
    if rate is None or isinstance(rate, str) or (number and not math.isfinite(rate)):
        raise ValueError(f"the learning rate must be a finite number, not {rate!r}")
    return PlainSGD(*optax.inject_hyperparams(optax.sgd)(learning_rate=rate))
