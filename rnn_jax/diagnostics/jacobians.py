"""How one step stretches and shrinks the state: singular values of its Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from rnn_jax.arrays.masking import check_mask
from rnn_jax.diagnostics.states import carries_before
from rnn_jax.layers.activation_penalty import without_penalties
from rnn_jax.layers.base import check_layer
from rnn_jax.layers.carries import all_carries
from rnn_jax.recurrence.unroll import batch_shape_of
from rnn_jax.types import Array, Carry, Layer, Params

__all__ = ["state_jacobians"]


def state_jacobians(
    layer: Layer, params: Params, carry: Carry, xs: Array, *, mask: Array | None = None
) -> Array:
    """The singular values of ``∂c_t/∂c_{t-1}`` for every step and row.

    ``c`` is the whole carry of a row as one vector of ``S`` real numbers: H for `elman` and `gru`,
    2H for the ``(h, c)`` of `lstm` and for the complex carry of `lru`, and their sum for a stack.
    Where the largest singular value is below one at all steps, gradients vanish with the lag; where
    it is above one, they may explode. These are derivatives of the values: a truncation does not
    change them.

    Args:
      layer: any causal `Layer`; ``recurrent(cell)`` for a cell.
      params: its parameters.
      carry: the carry before the first step, or None for the initial one.
      xs: ``float[T, B, D]`` or ``int[T, B]``.
      mask: ``bool[T, B]``; a masked step holds the carry, and all its singular values are one.

    Returns:
      ``float[T, B, S]``, the largest first.

    Raises:
      ValueError: ``layer`` is not a layer, or is not causal.

    Example:
      >>> import jax, rnn_jax
      >>> from rnn_jax.diagnostics import state_jacobians
      >>> layer = rnn_jax.recurrent(rnn_jax.lstm(3))
      >>> params = layer.init(jax.random.key(0), 2)
      >>> state_jacobians(layer, params, None, jax.numpy.ones((5, 4, 2))).shape
      (5, 4, 6)

    Reference:
      Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, ICML
      2013.
    """
    check_layer("state_jacobians", layer)
    check_mask(mask, (xs.shape[0], *batch_shape_of(xs)))
    if carry is None:
        carry = layer.initial_carry(batch_shape_of(xs), params)
    return _singular_values(without_penalties(layer), params, carry, xs, mask)


@partial(jax.jit, static_argnums=0)
def _singular_values(
    layer: Layer, params: Params, carry: Carry, xs: Array, mask: Array | None
) -> Array:
    after, _ = all_carries(layer, params, carry, xs, mask=mask)
    before = carries_before(carry, after)

    def singular_values(carry: Carry, x: Array, valid: Array | None) -> Array:
        """Those of one step of one row."""
        flat, unflatten = ravel_pytree(_real(carry))

        def step(flat: Array) -> Array:
            step_mask = None if valid is None else valid[None]
            new_carry, _ = layer.apply(
                params, _unreal(carry, unflatten(flat)), x[None], mask=step_mask
            )
            return ravel_pytree(_real(new_carry))[0]

        jacobian = jax.jacrev(step)(flat)
        return jnp.linalg.svd(jacobian, compute_uv=False)

    over_rows: Callable[[Carry, Array, Array | None], Array] = singular_values
    for _ in batch_shape_of(xs):
        over_rows = jax.vmap(over_rows)
    return lax.map(lambda step: over_rows(*step), (before, xs, mask))


def _real(carry: Carry) -> Carry:
    """The carry with every complex leaf as two real ones."""
    return jax.tree.map(lambda c: (c.real, c.imag) if jnp.iscomplexobj(c) else c, carry)


def _unreal(like: Carry, real: Carry) -> Carry:
    """The carry, complex where ``like`` is, that `_real` made ``real`` of."""
    return jax.tree.map(lambda c, r: lax.complex(*r) if jnp.iscomplexobj(c) else r, like, real)
