"""Token ids as one-hot vectors: row look-ups that never silently return a wrong row."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from rnn_jax.jaxprs import in_auto_mode, is_traced, spec_of
from rnn_jax.types import Array

__all__ = ["check_ids", "is_ids", "look_up"]


def is_ids(xs: Array) -> bool:
    """Whether ``xs`` holds token ids (an integer dtype) rather than features."""
    return bool(jnp.issubdtype(xs.dtype, jnp.integer))


def check_ids(ids: Array, size: int, mask: Array | None = None, *, what: str = "token id") -> None:
    """Raise ValueError if a valid id lies outside ``0 … size-1``; silent under jit.

    Args:
      ids: ``int[T, B]``.
      size: the number of rows that exist.
      mask: ``bool[T, B]``; padding may hold anything.
      what: what the message calls an id.
    """
    if is_traced(ids, mask):
        return
    valid = np.asarray(ids) if mask is None else np.asarray(ids)[np.asarray(mask)]
    if valid.size and not (0 <= valid.min() and valid.max() < size):
        bad = valid[(valid < 0) | (valid >= size)][0]
        raise ValueError(
            f"{what} {bad} lies outside the vocabulary of {size}: encode the text with the "
            "vocabulary the model was made for"
        )


def look_up(table: Array, ids: Array) -> Array:
    """Rows of ``table [V, H]`` for ``ids int[…]``: ``[…, H]``; NaN for an id outside the table.

    Negative ids do not count from the end: they also give NaN.
    """

    def rows(table: Array, ids: Array) -> tuple[Array]:
        return (table.at[ids].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False),)

    found: tuple[Array] = in_auto_mode(rows, (table, ids), (spec_of(ids),))
    return found[0]
