"""Plain gradient descent, recognisable as such."""

from __future__ import annotations

import math
import numbers

import optax

__all__ = ["PlainSGD", "sgd"]


class PlainSGD(optax.GradientTransformation):
    """An optax optimiser whose update is ``-η g``, clipped or not, and nothing else.

    A row of the input matrix that a batch does not use has no gradient, and this optimiser then
    leaves it alone: `make_train_step` updates the used rows only.
    """

    clipped: bool = False


def sgd(rate: float, *, clip: float | None = None) -> PlainSGD:
    """Plain gradient descent ``p ← p - η ∇p``, without momentum or decay.

    As ``optax.inject_hyperparams(optax.sgd)``, so that the learning rate stands in the optimiser's
    state; with it a train step touches only those rows of the input matrix that the batch uses,
    where ids select these and nothing else reads them.
    With ``clip`` the gradient is scaled to that norm where it is longer, as by
    ``optax.clip_by_global_norm``; a row that is used twice counts once in the norm.

    Args:
      rate: ``η``, the learning rate.
      clip: the largest norm of the gradient of all parameters; None: any.

    Raises:
      ValueError: the rate is no number, or not finite; ``clip`` is not positive.

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
    if clip is None:
        return PlainSGD(*optax.inject_hyperparams(optax.sgd)(learning_rate=rate))
    real = isinstance(clip, numbers.Real) and not isinstance(clip, bool)
    if not (real and 0 < clip < math.inf):
        raise ValueError(f"clip must be a positive number, or None, not {clip!r}")

    def clipped(learning_rate: float) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(clip), optax.sgd(learning_rate))

    made = PlainSGD(*optax.inject_hyperparams(clipped)(learning_rate=rate))
    made.clipped = True
    return made
