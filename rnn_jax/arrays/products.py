"""Matrix products of activations with parameters."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.jaxprs import in_auto_mode, reverse_mode_only, row_major, spec_of, vary_alike
from rnn_jax.types import Array, Params, state_dtype

__all__ = ["affine", "narrow_like", "outer", "product", "widened"]

_REVERSE_ONLY = (
    "products with a matrix of 16 bits have derivatives in reverse mode only: for jvp, jacfwd and "
    "linearize pass parameters of float32"
)


def product(xs: Array, w: Array, *, transposed: bool = False) -> Array:
    """``xs @ w`` in the dtype of ``w``, accumulated and returned in the `state_dtype` of that.

    With bfloat16 parameters, the factors are bfloat16 and the sums float32, on the way back as
    well; otherwise it is the plain product.

    Args:
      xs: ``float[..., D]``.
      w: ``float[D, G]``.
      transposed: whether ``w`` is ``[G, D]``, and the product ``xs @ w.T``. Written so, its factors
        stay bfloat16 on a CPU, where XLA widens those of a product with the transpose of an array.

    Returns:
      ``float[..., G]``.

    Example:
      >>> import jax.numpy as jnp
      >>> product(jnp.ones((4, 3)), jnp.ones((3, 2), jnp.bfloat16)).dtype
      dtype('float32')
    """
    if not _is_narrow(w):
        return _sums(xs, w, transposed)
    with reverse_mode_only(_REVERSE_ONLY):
        return _narrow(xs.dtype, transposed, *vary_alike((xs, w)))


def outer(xs: Array, ds: Array) -> Array:
    """``xs.T @ ds``, the gradient of ``w`` in ``xs @ w``, in the dtype of ``ds``.

    Args:
      xs: ``float[N, D]``.
      ds: ``float[N, G]``.

    Returns:
      ``float[D, G]`` of `state_dtype`.

    Example:
      >>> import jax.numpy as jnp
      >>> outer(jnp.ones((7, 3)), jnp.ones((7, 2), jnp.bfloat16))[0]
      Array([7., 7.], dtype=float32)
    """
    if not _is_narrow(ds):
        return product(xs.T, ds)
    # XLA's bfloat16 products on a CPU want the axis that is summed over innermost on the left.
    return lax.platform_dependent(
        xs,
        ds,
        cpu=lambda xs, ds: product(row_major(xs.astype(ds.dtype).T), ds),
        default=lambda xs, ds: product(xs.T, ds),
    )


def _sums(xs: Array, w: Array, transposed: bool) -> Array:
    return lax.dot_general(
        xs.astype(w.dtype),
        w,
        (((xs.ndim - 1,), (int(transposed),)), ((), ())),
        preferred_element_type=state_dtype(w.dtype),
    )


# JAX's own derivative multiplies float32 cotangents with matrices that it widens to float32: the
# way back, two thirds of the work, would be float32 products.
@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _narrow(dtype: jnp.dtype, transposed: bool, xs: Array, w: Array) -> Array:
    return _sums(xs, w, transposed)


def _forward(
    dtype: jnp.dtype, transposed: bool, xs: Array, w: Array
) -> tuple[Array, tuple[Array, Array]]:
    xs = xs.astype(w.dtype)
    return _sums(xs, w, transposed), (xs, w)


def _backward(
    dtype: jnp.dtype, transposed: bool, factors: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    xs, w = factors
    cotangent = cotangent.astype(w.dtype)
    into, out = (a.reshape(-1, a.shape[-1]) for a in (xs, cotangent))
    dw = outer(out, into) if transposed else outer(into, out)
    dxs = product(cotangent, w, transposed=not transposed)
    return dxs.astype(dtype), dw.astype(w.dtype)


_narrow.defvjp(_forward, _backward)


def affine(xs: Array, w: Array, bias: Array | None = None, *, transposed: bool = False) -> Array:
    """``xs @ w (+ bias)`` with all leading axes as the rows of one matrix.

    With time and batch as two axes, XLA transposes and copies the whole cotangent before the
    product that gives the gradient of ``w``; with one axis it does not. On a CPU this saves 15 % of
    a training step of the reference model.

    Args:
      xs: ``float[T, B, D]``, any leading shape.
      w: ``float[D, G]``.
      bias: ``float[G]``.
      transposed: whether ``w`` is ``[G, D]``, and the product ``xs @ w.T``.

    Returns:
      ``float[T, B, G]`` of `state_dtype`.

    Example:
      >>> import jax.numpy as jnp
      >>> affine(jnp.ones((5, 4, 3)), jnp.ones((3, 2)), jnp.zeros(2)).shape
      (5, 4, 2)
    """
    layout = (*spec_of(xs)[:-1], None)
    (ys,) = in_auto_mode(partial(_affine, transposed), (xs, w, bias), (layout,))
    return ys


def _affine(transposed: bool, xs: Array, w: Array, bias: Array | None) -> tuple[Array]:
    if not all(isinstance(n, int) for n in xs.shape):
        # Exported for any T or B, where one axis of both is a reshape that only XLA can compile.
        ys = product(xs, w, transposed=transposed)
        return (ys if bias is None else ys + jnp.broadcast_to(bias, ys.shape),)
    rows = product(xs.reshape(-1, xs.shape[-1]), w, transposed=transposed)
    rows = rows if bias is None else rows + bias[None]
    return (rows.reshape(*xs.shape[:-1], rows.shape[-1]),)


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
