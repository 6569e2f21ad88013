"""Token ids as one-hot vectors: row look-ups that never silently return a wrong row."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.jaxprs import in_auto_mode, is_traced, spec_of
from rnn_jax.types import Array, state_dtype

__all__ = ["as_index", "check_ids", "is_ids", "look_up"]


def is_ids(xs: Array) -> bool:
    """Whether ``xs`` holds token ids (an integer dtype) rather than features."""
    return bool(jnp.issubdtype(xs.dtype, jnp.integer))


def as_index(ids: Array) -> Array:
    """``ids`` in a signed dtype of 32 bits or more, in which -1 and any size fit beside them.

    In their own dtype they may wrap: -1 and a vocabulary of 300 as int8 are 255 - 256 and 44. What
    is too large for the new dtype becomes -1, which is an id of nothing.

    Example:
      >>> import jax.numpy as jnp
      >>> as_index(jnp.array([7, 2**32 - 1], jnp.uint32))
      Array([ 7, -1], dtype=int32)
    """
    if isinstance(ids, np.ndarray) and ids.dtype.itemsize == 8 and not jax.config.jax_enable_x64:
        # Before JAX cuts bits off.
        ids = np.where((ids >= -(2**31)) & (ids < 2**31), ids.astype(np.int64), -1)
    ids = jnp.asarray(ids)
    dtype = jnp.int64 if ids.dtype.itemsize == 8 else jnp.int32
    if ids.dtype == dtype:
        return ids
    index = ids.astype(dtype)
    unsigned = jnp.issubdtype(ids.dtype, jnp.unsignedinteger)
    return jnp.where(index < 0, -1, index) if unsigned else index


def check_ids(
    ids: Array | np.ndarray, size: int, mask: Array | None = None, *, what: str = "token id"
) -> None:
    """Raise ValueError if a valid id lies outside ``0 … size-1``; silent under jit.

    Args:
      ids: ``int[T, B]``.
      size: the number of rows that exist.
      mask: ``bool[T, B]``; padding may hold anything.
      what: what the message calls an id.
    """
    if is_traced(ids, mask):
        return
    ids, mask = jax.device_get((ids, mask))  # explicitly, as a transfer guard asks for
    valid = np.asarray(ids) if mask is None else np.asarray(ids)[np.asarray(mask)]
    if valid.size and not (0 <= valid.min() and valid.max() < size):
        bad = valid[(valid < 0) | (valid >= size)][0]
        remedy = "encode the text with the vocabulary the model was made for"
        if ids.ndim > 2:  # [T, B, D] rather than [T, B]
            remedy += f"; features of shape {ids.shape} must be floating, so pass xs.astype(float)"
        raise ValueError(f"{what} {bad} lies outside the vocabulary of {size}: {remedy}")


def look_up(table: Array, ids: Array) -> Array:
    """Rows of ``table [V, H]`` for ``ids int[…]``: ``[…, H]``; NaN for an id outside the table.

    Negative ids do not count from the end: they also give NaN. The gradient of a row is the sum of
    all that its id was looked up for, in the `state_dtype`, whatever the table's.
    """

    def rows(table: Array, ids: Array) -> tuple[Array]:
        wide = jnp.asarray(table, state_dtype(table.dtype)).at[as_index(ids)]
        found = wide.get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        return (found.astype(table.dtype),)

    found: tuple[Array] = in_auto_mode(rows, (table, ids), (spec_of(ids),))
    return found[0]
