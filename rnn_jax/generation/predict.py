"""The most probable next token at every step of a text."""

from __future__ import annotations

import jax.numpy as jnp

from rnn_jax.arrays.masking import fill_masked
from rnn_jax.generation.drawn import NO_TOKEN, any_choice, check_drawn
from rnn_jax.types import Array, Carry, Model, Params

__all__ = ["predict"]


def predict(
    model: Model, params: Params, carry: Carry, tokens: Array, *, mask: Array | None = None
) -> tuple[Carry, Array]:
    """The most probable next token at every step.

    ``y_t = argmax_v logits[t, b, v]``.

    Args:
      model: a `Model`.
      params: its parameters.
      carry: the carry before the first step, or None.
      tokens: ``int[T, B]``.
      mask: ``bool[T, B]``.

    Returns:
      The new carry and ``int[T, B]``. Under jit, -1 stands where logits are NaN or infinite.

    Raises:
      ValueError: logits are NaN or infinite.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> params = model.init(jax.random.key(0))
      >>> carry, best = predict(model, params, None, jnp.array([3, 1, 4]))
      >>> best.shape
      (3,)
    """
    carry, logits = model.apply(params, carry, tokens, mask=mask)
    best = jnp.where(any_choice(logits), logits.argmax(-1), NO_TOKEN)
    check_drawn(fill_masked(best, mask))
    return carry, best
