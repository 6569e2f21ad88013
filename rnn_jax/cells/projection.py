"""The input product, shared by all cells: one GEMM, or one row look-up, over all steps."""

from __future__ import annotations

from rnn_jax.arrays.products import affine
from rnn_jax.arrays.tokens import check_ids, is_ids, look_up
from rnn_jax.types import Array, state_dtype

__all__ = ["input_product"]


def input_product(w_ih: Array, xs: Array, bias: Array | None = None) -> Array:
    """``xs @ w_ih (+ bias)`` for features; rows of ``w_ih`` for ids, which are one-hot vectors.

    Args:
      w_ih: ``float[D, G]``.
      xs: ``float[T, B, D]`` or ``int[T, B]``.
      bias: ``float[G]``.

    Returns:
      ``float[T, B, G]`` of `state_dtype`.

    Raises:
      ValueError: the number of features is not the number of rows of ``w_ih``, or an id selects
        none of them (under jit: NaN).
    """
    if is_ids(xs):
        check_ids(xs, w_ih.shape[0])
        zs = look_up(w_ih, xs).astype(state_dtype(w_ih.dtype))
        return zs if bias is None else zs + bias.reshape((1,) * (zs.ndim - 1) + bias.shape)
    if xs.ndim == 0 or xs.shape[-1] != w_ih.shape[0]:
        raise ValueError(
            f"inputs of shape {xs.shape} do not fit parameters made for {w_ih.shape[0]} features: "
            "the last axis must hold the features (token ids must be integers)"
        )
    return affine(xs, w_ih, bias)
