"""Sliding windows by lagged pull-backs: every window's gradient, with no window run again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.jaxprs import vary_alike, vary_over, varying_axes
from rnn_jax.types import Array, Carry, Params

__all__ = ["lagged"]

Step = Callable[[Params, Carry, Any], tuple[Carry, Any]]

_WINDOWS = "pass truncate(…, reference=True), which runs every window"


def lagged(
    forward: Step,
    step: Step,
    lags: int,
    params: Params,
    carry: Carry,
    xs: Any,
    *,
    remedy: str = _WINDOWS,
    cast: bool = True,
) -> tuple[Carry, Any]:
    """The values of ``forward``; gradients of output ``t`` reach the steps ``t, t-1, …, t-lags``.

    With ``c_t, y_t = step(θ, c_{t-1}, x_t)``, the loss of step ``t`` sends ``λ⁰_t = (∂L_t/∂c_t,
    ∂L_t/∂y_t)`` into its own step, and what comes out for the carry before it into the step before.
    A pull-back is linear in what it is given, so all windows advance together, one lag at a time:

        γ⁰   = pull_c(c̄, ȳ)              of every step t at once, from the kept carry before it
        γʲ_t = pull_c(γʲ⁻¹_{t+1}, 0)_t    for j = 1 … lags
        θ̄, x̄ = pull_θx(c̄ + Σ_j shift(γʲ⁻¹), ȳ)     once, for all lags
        c̄_{-1} = Σ_j γʲ_0

    That is ``lags + 1`` dependent steps backwards in place of ``T``, one gradient of the weights,
    and no forward pass of a window.

    Args:
      forward: all steps at once, ``(params, carry, xs) -> (carries, ys)``, ``[T, …]`` each.
      step: one of them, ``(params, carry, x) -> (carry, y)``. Neither may close over arrays.
      lags: how many further steps a loss reaches back.
      params: arrays that every step reads.
      carry: before the first step.
      xs: a tree of ``[T, …]``; what is not a floating-point array has no gradient.
      remedy: what an error about derivatives of second order advises.
      cast: inside ``shard_map``, whether every argument is to be of the type of one that differs
        over devices; False where ``step`` is fixed to the types that they have.

    Returns:
      What ``forward`` returns.

    Raises:
      ValueError: it is differentiated twice.
    """
    inputs, rejoin = _split((params, carry, xs))

    @jax.custom_vjp
    def run(inexact: list[Array], rest: list[Array]) -> tuple[Carry, Any]:
        return forward(*rejoin(inexact, rest))

    def run_and_keep(inexact: list[Array], rest: list[Array]) -> Any:
        carries, ys = forward(*rejoin(inexact, rest))
        return (carries, ys), (inexact, rest, carries)

    def pull_back(kept: Any, cotangents: tuple[Carry, Any]) -> tuple[list[Array], None]:
        inexact, rest, carries = kept
        gradients = _pulled(step, lags, cast, rejoin(inexact, rest), carries, cotangents)
        return [_once(leaf, remedy) for leaf in gradients], None

    run.defvjp(run_and_keep, pull_back)
    # Inside shard_map: what is summed over devices is summed where these are cast, not by the rule.
    axes = varying_axes(*inputs) if cast else frozenset[str]()
    return run(vary_over(axes, inputs[0]), inputs[1])


def _pulled(
    step: Step,
    lags: int,
    cast: bool,
    arguments: tuple[Params, Carry, Any],
    carries: Carry,
    cotangents: Any,
) -> list[Array]:
    """The gradients of the floating-point leaves of ``(params, carry, xs)``."""
    params, carry, xs = arguments
    before = jax.tree.map(
        lambda first, after: jnp.concatenate([first.astype(after.dtype)[None], after[:-1]]),
        carry,
        carries,
    )
    (read, unread), rejoin = _split((params, xs))
    (states, others), restore = _split(before)

    def all_steps(read: list[Array], states: list[Array]) -> tuple[list[Array], list[Array]]:
        params, xs = rejoin(read, unread)
        after, ys = jax.vmap(step, (None, 0, 0))(params, restore(states, others), xs)
        return _split(after)[0][0], _split(ys)[0][0]

    (_, ys), pull_read = jax.vjp(lambda read: all_steps(read, states), read)
    _, pull_states = jax.vjp(lambda states: all_steps(read, states), states)
    # Cotangents of integers are of a type without numbers; they carry nothing.
    from_carries, from_ys = (
        [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        for tree in cotangents
    )
    silent = [jnp.zeros_like(leaf) for leaf in ys]
    (back,) = pull_states((from_carries, from_ys))

    def lag(state: Any, _: None) -> tuple[Any, None]:
        back, total, first = state
        shifted = [jnp.concatenate([leaf[1:], jnp.zeros_like(leaf[:1])]) for leaf in back]
        (back,) = pull_states((shifted, silent))
        total = [a + b for a, b in zip(total, shifted, strict=True)]
        return (back, total, [a + b[0] for a, b in zip(first, back, strict=True)]), None

    start = back, from_carries, [leaf[0] for leaf in back]
    start = vary_alike(start) if cast else start
    (_, total, first), _ = lax.scan(lag, start, None, length=lags)
    (read_bar,) = pull_read((total, from_ys))
    # Back into the order of (params, carry, xs).
    params_bar, xs_bar = rejoin(read_bar, unread)
    carry_bar = _split(carry)[1](first, _split(carry)[0][1])
    return _split((params_bar, carry_bar, xs_bar))[0][0]


def _split(
    tree: Any,
) -> tuple[tuple[list[Array], list[Array]], Callable[[list[Array], list[Array]], Any]]:
    """The leaves with a gradient, those without, and the way back from both."""
    leaves, structure = jax.tree.flatten(tree)
    leaves = [leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf) for leaf in leaves]
    inexact = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def rejoin(with_gradient: list[Array], without: list[Array]) -> Any:
        one, other = iter(with_gradient), iter(without)
        return jax.tree.unflatten(structure, [next(one if i else other) for i in inexact])

    parts = (
        [leaf for leaf, i in zip(leaves, inexact, strict=True) if i],
        [leaf for leaf, i in zip(leaves, inexact, strict=True) if not i],
    )
    return parts, rejoin


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _once(leaf: Array, remedy: str) -> Array:
    """``leaf``, which cannot be differentiated.

    It was computed from carries that are kept; those inside a window depend on the parameters.
    """
    return leaf


@_once.defjvp
def _refuse(remedy: str, primals: Any, tangents: Any) -> Any:
    raise ValueError(
        f"sliding() by lagged pull-backs has first derivatives only: for higher ones {remedy}"
    )
