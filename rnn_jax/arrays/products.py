"""Matrix products of activations with parameters."""

from __future__ import annotations

from jax import lax

from rnn_jax.jaxprs import in_auto_mode, spec_of
from rnn_jax.types import Array, state_dtype

__all__ = ["affine", "product"]


def product(xs: Array, w: Array) -> Array:
    """``xs @ w`` in the dtype of ``w``, accumulated and returned in the `state_dtype` of that.

    With bfloat16 parameters, the factors are bfloat16 and the sums float32; otherwise it is the
    plain product.

    Args:
      xs: ``float[..., D]``.
      w: ``float[D, G]``.

    Returns:
      ``float[..., G]``.

    Example:
      >>> import jax.numpy as jnp
      >>> product(jnp.ones((4, 3)), jnp.ones((3, 2), jnp.bfloat16)).dtype
      dtype('float32')
    """
    return lax.dot_general(
        xs.astype(w.dtype),
        w,
        (((xs.ndim - 1,), (0,)), ((), ())),
        preferred_element_type=state_dtype(w.dtype),
    )


def affine(xs: Array, w: Array, bias: Array | None = None) -> Array:
    """``xs @ w (+ bias)`` with all leading axes as the rows of one matrix.

    With time and batch as two axes, XLA transposes and copies the whole cotangent before the
    product that gives the gradient of ``w``; with one axis it does not. On a CPU this saves 15 % of
    a training step of the reference model.

    Args:
      xs: ``float[T, B, D]``, any leading shape.
      w: ``float[D, G]``.
      bias: ``float[G]``.

    Returns:
      ``float[T, B, G]`` of `state_dtype`.

    Example:
      >>> import jax.numpy as jnp
      >>> affine(jnp.ones((5, 4, 3)), jnp.ones((3, 2)), jnp.zeros(2)).shape
      (5, 4, 2)
    """
    layout = (*spec_of(xs)[:-1], None)
    (ys,) = in_auto_mode(_affine, (xs, w, bias), (layout,))
    return ys


def _affine(xs: Array, w: Array, bias: Array | None) -> tuple[Array]:
    rows = product(xs.reshape(-1, xs.shape[-1]), w)
    rows = rows if bias is None else rows + bias[None]
    return (rows.reshape(*xs.shape[:-1], w.shape[1]),)
