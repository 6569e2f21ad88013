"""Matrix products of activations with parameters."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.jaxprs import in_auto_mode, reverse_mode_only, spec_of, vary_alike
from rnn_jax.types import Array, Params, state_dtype

__all__ = ["affine", "narrow_like", "product", "widened"]

_REVERSE_ONLY = (
    "products with a matrix of 16 bits have derivatives in reverse mode only: for jvp, jacfwd and "
    "linearize pass parameters of float32"
)


def product(xs: Array, w: Array) -> Array:
    """``xs @ w`` in the dtype of ``w``, accumulated and returned in the `state_dtype` of that.

    With bfloat16 parameters, the factors are bfloat16 and the sums float32, on the way back as
    well; otherwise it is the plain product.

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
    if w.dtype == state_dtype(w.dtype):
        return _sums(xs, w)
    with reverse_mode_only(_REVERSE_ONLY):
        return _narrow(xs.dtype, *vary_alike((xs, w)))


def _sums(xs: Array, w: Array) -> Array:
    return lax.dot_general(
        xs.astype(w.dtype),
        w,
        (((xs.ndim - 1,), (0,)), ((), ())),
        preferred_element_type=state_dtype(w.dtype),
    )


# JAX's own derivative multiplies float32 cotangents with matrices that it widens to float32: the
# way back, two thirds of the work, would be float32 products.
@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _narrow(dtype: jnp.dtype, xs: Array, w: Array) -> Array:
    return _sums(xs, w)


def _forward(dtype: jnp.dtype, xs: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    xs = xs.astype(w.dtype)
    return _sums(xs, w), (xs, w)


def _backward(
    dtype: jnp.dtype, factors: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    xs, w = factors
    cotangent = cotangent.astype(w.dtype)
    into, out = (a.reshape(-1, a.shape[-1]) for a in (xs, cotangent))
    return product(cotangent, w.T).astype(dtype), product(into.T, out).astype(w.dtype)


_narrow.defvjp(_forward, _backward)


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
    if not all(isinstance(n, int) for n in xs.shape):
        # Exported for any T or B, where one axis of both is a reshape that only XLA can compile.
        ys = product(xs, w)
        return (ys if bias is None else ys + jnp.broadcast_to(bias, ys.shape),)
    rows = product(xs.reshape(-1, xs.shape[-1]), w)
    rows = rows if bias is None else rows + bias[None]
    return (rows.reshape(*xs.shape[:-1], w.shape[1]),)


def widened(params: Params) -> Params:
    """``params`` of 16 bits in float32, for a loop whose rounds each read all of them.

    JAX adds up what the rounds send back in the dtype of what they read. In bfloat16, of 8 bits,
    the sum of a thousand equal terms stands still after 256 of them.
    """
    return jax.tree.map(lambda p: p.astype(jnp.float32) if _is_narrow(p) else p, params)


def narrow_like(wide: Params, params: Params) -> Params:
    """What `widened` made, inside the loop, in the dtypes of ``params`` again: their very values.

    Example:
      >>> params = {"w": jnp.full(2, 0.1, jnp.bfloat16)}
      >>> bool((narrow_like(widened(params), params)["w"] == params["w"]).all())
      True
    """
    return jax.tree.map(lambda p, q: p.astype(q.dtype) if _is_narrow(q) else p, wide, params)


def _is_narrow(leaf: Any) -> bool:
    return getattr(leaf, "dtype", None) in (jnp.bfloat16, jnp.float16)
