"""The prefix of a generation: checked, and read to warm the carry up."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from rnn_jax.arrays.masking import at_last_valid, check_mask
from rnn_jax.arrays.tokens import check_ids, is_ids
from rnn_jax.jaxprs import is_traced
from rnn_jax.types import Array, Carry, Params

__all__ = ["check_prefix", "read_prefix"]


def check_prefix(
    model: Any, params: Params, carry: Carry, prefix: Array, mask: Array | None
) -> tuple[Carry, Array]:
    """The carry to start from and the prefix as ids, or ValueError."""
    prefix = jnp.asarray(prefix)
    if not prefix.shape or not prefix.shape[0]:
        raise ValueError("the prefix is empty: give at least one token a row to start from")
    if not is_ids(prefix):
        raise ValueError(f"the prefix must hold token ids, integers, not {prefix.dtype}")
    if not model.causal:
        raise ValueError(f"{model!r} is not causal: only a model that runs forwards can generate")
    check_mask(mask, prefix.shape)
    visible = mask is not None and not is_traced(mask)
    if visible and not np.asarray(mask).any(axis=0).all():
        raise ValueError("a row of the prefix is all masked: give at least one token a row")
    check_ids(prefix, model.output_size, mask)
    if carry is None:
        carry = model.initial_carry(prefix.shape[1:], params)
    return carry, prefix.astype(int)  # a narrow dtype may not hold the tokens to come


def read_prefix(
    model: Any, params: Params, carry: Carry, prefix: Array, mask: Array | None
) -> tuple[Carry, Array]:
    """The carry after the prefix and the logits ``float[B, V]`` of the token that follows it."""
    carry, logits = model.apply(params, carry, prefix, mask=mask)
    return carry, at_last_valid(logits, mask)
