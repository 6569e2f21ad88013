"""Linear recurrences ``c_t = a_t ⊙ c_{t-1} + b_t``, on accelerators all steps in parallel."""

from __future__ import annotations

from functools import partial
from typing import Any, Never

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import expand, select
from rnn_jax.cells.linear import LinearCell
from rnn_jax.host.checks import check_renamed
from rnn_jax.jaxprs import in_auto_mode, scan, spec_of, vary_alike
from rnn_jax.recurrence.gradient_scale import scale_gradient
from rnn_jax.types import Array, Params, Steps

__all__ = ["linear_scan", "unroll_linear"]


def linear_scan(
    a: Array,
    b: Array,
    carry: Array,
    *,
    gradient_scale: Array | None = None,
    reverse: bool = False,
    **renamed: Never,
) -> Array:
    """Every state of ``c_t = a_t ⊙ c_{t-1} + b_t``, for which no step need wait for another.

    On accelerators by an associative scan, some ``2 log₂ T`` steps one after the other in place of
    ``T``. A CPU takes one step after the other: the tree reads and writes several times as much,
    and was slower at every shape tried.

    With a ``gradient_scale`` ``g``, the carry before step ``t`` is ``sg(c) + g_t (c - sg(c))``: the
    same values, its gradient times ``g_t``. Where ``a_t = 0``, the state before it is not read; it
    may be NaN.

    The derivative is written as another linear scan, in the other direction. What follows from it
    works in either mode, to any order, under ``vmap`` and ``jit``, ``jax.hessian`` as well; only
    forward mode at first order (``jvp``, ``jacfwd``) needs a plain ``lax.scan``.

    Args:
      a: ``[T, B, H]``, real or complex; any axis may be of size one.
      b: ``[T, B, H]``, real or complex, any shape behind ``T``.
      carry: ``[B, H]``, the state before the first step.
      gradient_scale: ``float[T, B]``, any leading axes of ``b``.
      reverse: from the last step to the first: ``c_t = a_t ⊙ c_{t+1} + b_t``.

    Returns:
      ``[T, B, H]`` of the arguments' common dtype.

    Raises:
      ValueError: shapes that do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> linear_scan(jnp.full((3, 1), 0.5), jnp.ones((3, 1)), jnp.zeros(1))[:, 0]
      Array([1.  , 1.5 , 1.75], dtype=float32)

    Reference:
      Blelloch, Prefix sums and their applications, CMU-CS-90-190 (1990); Martin and Cundy,
      Parallelizing linear recurrent neural nets over sequence length, ICLR 2018.
    """
    check_renamed("linear_scan", renamed)
    a, b, carry = (jnp.asarray(x) for x in (a, b, carry))
    fits = a.ndim == b.ndim and all(m in (1, n) for m, n in zip(a.shape, b.shape, strict=True))
    if not (b.ndim and fits and carry.shape == b.shape[1:]):
        raise ValueError(
            f"a {a.shape}, b {b.shape} and carry {carry.shape} do not fit: pass b [T, B, H], "
            "carry [B, H], and a like b or with axes of size one"
        )
    if gradient_scale is not None and gradient_scale.shape != b.shape[: gradient_scale.ndim]:
        raise ValueError(
            f"the gradient_scale has shape {gradient_scale.shape}, but b has {b.shape}: pass one "
            "of its first axes"
        )
    dtype = jnp.result_type(a, b, carry)
    a, b, carry = (x.astype(dtype) for x in (a, b, carry))
    a = jnp.broadcast_to(a, (b.shape[0], *a.shape[1:]))
    run = partial(_directed, reverse=reverse)
    (states,) = in_auto_mode(run, (a, b, carry, gradient_scale), (spec_of(b),))
    return states


def _directed(
    a: Array, b: Array, carry: Array, gradient_scale: Array | None, *, reverse: bool
) -> tuple[Array]:
    a, b, carry, gradient_scale = vary_alike((a, b, carry, gradient_scale))
    if not reverse:
        return (_states(a, b, carry, gradient_scale),)
    scale = None if gradient_scale is None else jnp.flip(gradient_scale, 0)
    return (jnp.flip(_states(jnp.flip(a, 0), jnp.flip(b, 0), carry, scale), 0),)


@jax.custom_jvp
@jax.jit  # else, outside jit, each of the tree's many slices and sums is a call of its own
def _plain(a: Array, b: Array, carry: Array, scale: Array | None) -> Array:
    """The states, with derivatives of any order, in either mode."""
    states: Array = lax.platform_dependent(a, b, carry, **FORMS)
    return states


@_plain.defjvp
def _plain_derivative(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """``ċ_t = g_t a_t ċ_{t-1} + ȧ_t c_{t-1} + ḃ_t``: a linear scan again, compiled once."""
    a, b, carry, scale = primals
    a_dot, b_dot, carry_dot, _ = tangents
    states = _plain(a, b, carry, scale)
    before, back = _pulled(a, carry, scale, states)
    through = jnp.where(a != 0, a_dot * before, 0)  # as `_times`
    return states, _plain(back, through + b_dot, carry_dot, None)


def _pulled(a: Array, carry: Array, scale: Array | None, states: Array) -> tuple[Array, Array]:
    """What each step reads, ``c_{t-1}``, and what a derivative is multiplied by, ``g_t a_t``."""
    before = jnp.concatenate([carry[None], states])[:-1]
    if scale is None:
        return before, a
    return scale_gradient(before, scale), a * expand(scale, before).astype(a.dtype)


def _sequence(a: Array, b: Array, carry: Array) -> Array:
    """One step after the other."""

    def body(before: Array, step: Any) -> tuple[Array, Array]:
        a, b = step
        state = _times(a, before) + b
        return state, state

    states: Array = scan(body, carry, (a, b))[1]
    return states


def _tree(a: Array, b: Array, carry: Array) -> Array:
    """An associative scan."""
    if not len(b):
        return b

    def then(first: Any, second: Any) -> Any:
        (a1, b1), (a2, b2) = first, second
        return _times(a2, a1), _times(a2, b1) + b2

    _, first = then((carry[None], carry[None]), (a[:1], b[:1]))
    states: Array = lax.associative_scan(then, (a, jnp.concatenate([first, b[1:]])))[1]
    return states


def _times(a: Array, before: Array) -> Array:
    # Where nothing is kept, what came before is not read: 0 * NaN would be NaN.
    return jnp.where(a != 0, a * before, 0)


# By platform.
FORMS = {"default": _tree, "cpu": _sequence}

# The same, with a first derivative that is one linear scan more and keeps nothing of the tree.
_states = jax.custom_vjp(_plain)


def _forward(a: Array, b: Array, carry: Array, scale: Array | None) -> tuple[Array, Any]:
    states = _plain(a, b, carry, scale)
    return states, (a, carry, scale, states)


def _backward(saved: Any, cotangent: Array) -> tuple[Array, Array, Array, None]:
    # Transposed, not conjugated: JAX's convention for complex numbers.
    a, carry, scale, states = saved
    before, back = _pulled(a, carry, scale, states)
    # d_t = cotangent_t + g_{t+1} a_{t+1} d_{t+1}: what loss gains from b_t.
    following = jnp.concatenate([back[1:], jnp.zeros_like(back[:1])])
    flipped = (jnp.flip(x, 0) for x in (following, cotangent))
    d = jnp.flip(_plain(*flipped, jnp.zeros_like(carry), None), 0)
    one_for_all = tuple(i for i, (m, n) in enumerate(zip(a.shape, d.shape, strict=True)) if m != n)
    da = (d * before).sum(one_for_all, keepdims=True)
    # No values depend on the scale.
    first = jnp.where(back[:1] == 0, 0, back[:1] * d[:1])  # also of an infinite gradient
    return da, d, first.sum(0), None


_states.defvjp(_forward, _backward)


def unroll_linear(
    cell: LinearCell,
    params: Params,
    carry: Array,
    zs: Array,
    steps: Steps,
    *,
    reverse: bool = False,
) -> tuple[Array, Array, Array]:
    """A `LinearCell` over all steps at once: what a scan of its ``step`` computes.

    Args:
      cell: a `LinearCell`.
      params: its parameters.
      carry: ``c_{-1} [B, H]``.
      zs: ``[T, B, …]``, the projected inputs, finite where masked.
      steps: where masked, ``a = 1`` and ``b = 0``, the output is zero, and neither the factor nor
        the reset is looked at; where reset, ``a = 0`` and ``b`` gains ``a ⊙`` the initial carry.
      reverse: from the last step to the first.

    Returns:
      The carry after the last step, and the carries and outputs of every step.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.min_gru(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> zs = cell.project(params, jax.numpy.ones((5, 4, 2)))
      >>> carry, carries, ys = unroll_linear(cell, params, jax.numpy.zeros((4, 3)), zs, Steps())
      >>> carry.shape, carries.shape, ys.shape
      ((4, 3), (5, 4, 3), (5, 4, 3))
    """
    mask, scale, resets = steps
    a, b = cell.coefficients(params, zs)
    if resets is not None:
        initial = cell.initial_carry(resets.shape, params)
        a, b = select(resets, (jnp.zeros_like(a), a * initial + b), (a, b))
    if mask is not None:
        a, b = select(mask, (a, b), (jnp.ones_like(a), jnp.zeros_like(b)))
        scale = None if scale is None else jnp.where(mask, scale, jnp.ones_like(scale))
    carries = linear_scan(a, b, carry, gradient_scale=scale, reverse=reverse)
    ys = cell.read(params, carries, zs)
    if mask is not None:
        ys = select(mask, ys, jnp.zeros_like(ys))
    if carries.shape[0]:
        carry = carries[0 if reverse else -1]
    return carry, carries, ys
