"""The mark of a token that could not be drawn, and the error where it can be seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.jaxprs import is_traced
from rnn_jax.types import Array

__all__ = ["NO_TOKEN", "any_choice", "check_drawn"]

NO_TOKEN = -1  # in the place of a token where none could be chosen


def any_choice(logits: Array) -> Array:
    """``bool[…]``, whether ``logits float[…, V]`` are numbers, and not all of them ``-inf``.

    A ``+inf`` is no number either: the softmax of it is NaN.
    """
    return jnp.isfinite(logits.max(-1))


def check_drawn(tokens: Array, *, best: bool = False) -> None:
    """Raise ValueError if a token is `NO_TOKEN`; silent under jit.

    Args:
      tokens: ``int[T, …]``.
      best: whether only the first along the last axis counts.
    """
    if is_traced(tokens) or not tokens.is_fully_addressable:
        return
    seen = np.asarray(jax.device_get(tokens))
    missing = np.argwhere((seen[..., 0] if best else seen) == NO_TOKEN)
    if len(missing):
        raise ValueError(
            f"no token can be chosen at step {missing[0][0]}: the logits there are NaN or "
            "infinite, or -inf for every allowed token; use parameters that are finite, or allow "
            "more tokens"
        )
