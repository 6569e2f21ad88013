"""The prefix of a generation: checked, and read to warm up the carry."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.arrays.masking import at_last_valid, check_mask
from rnn_jax.arrays.tokens import as_index, check_ids, is_ids
from rnn_jax.jaxprs import is_traced
from rnn_jax.types import Array, Carry, Model, Params

__all__ = ["check_prefix", "read_prefix"]


def check_prefix(model: Model, prefix: Array, mask: Array | None) -> Array:
    """The prefix as token ids.

    Raises:
      ValueError: the prefix or its mask is unusable, or the model is not causal.
    """
    prefix = jnp.asarray(prefix)
    if not prefix.shape or not prefix.shape[0]:
        raise ValueError("the prefix is empty: give each row at least one token to start from")
    if not is_ids(prefix):
        raise ValueError(f"the prefix must hold token ids, integers, not {prefix.dtype}")
    if not model.causal:
        raise ValueError(f"{model!r} is not causal: generate with a model that runs forwards")
    check_mask(mask, prefix.shape)
    visible = mask is not None and not is_traced(mask)
    if visible and not np.asarray(jax.device_get(mask)).any(axis=0).all():
        raise ValueError(
            "a row of the prefix is all masked: leave at least one valid token in each row"
        )
    check_ids(prefix, model.output_size, mask)
    return as_index(prefix).astype(int)  # a narrow dtype might not hold the generated tokens


def read_prefix(
    model: Model, params: Params, carry: Carry, prefix: Array, mask: Array | None
) -> tuple[Carry, Array]:
    """The carry after the prefix and the logits ``float[B, V]`` of the token that follows it."""
    carry, logits = model.apply(params, carry, prefix, mask=mask)
    return carry, at_last_valid(logits, mask)
