"""Sliding windows by lagged pull-backs: every window's gradient, with no window run again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.jaxprs import vary_alike, vary_over, varying_axes
from rnn_jax.recurrence.sweeps import RUN_WINDOWS, first_order_only
from rnn_jax.types import Array, Carry, Params

__all__ = ["lagged"]

Steps = Callable[[Params, Carry, Any], tuple[Carry, Any]]


def lagged(
    forward: Steps,
    at_once: Steps,
    lags: int,
    params: Params,
    carry: Carry,
    xs: Any,
    *,
    remedy: str = RUN_WINDOWS,
    cast: bool = True,
) -> tuple[Carry, Any]:
    """The values of ``forward``; gradients of output ``t`` reach the steps ``t, t-1, …, t-lags``.

    With ``c_t, y_t = f(θ, c_{t-1}, x_t)`` and ``c̄, ȳ`` the gradients of the loss in what each step
    returns, a window lets ``c̄_t, ȳ_t`` go back through the steps ``t … t-lags``. A pull-back is
    linear in what it is given, so all windows go back together, every step at once:

        Λ⁰ = c̄
        Λʲ = c̄ + shift(pull_c(Λʲ⁻¹, ȳ))     for j = 1 … lags
        θ̄, x̄ = pull_θx(Λ, ȳ)    c̄_{-1} = pull_c(Λ, ȳ)_0     from the last of them

    ``pull_c`` leads to the carries before the steps, and ``shift`` by one step makes them those
    after the steps before. That is ``lags + 1`` dependent steps backwards in place of ``T``, one
    gradient of the weights, and no forward pass of a window.

    Args:
      forward: all steps in a row, ``(params, carry, xs) -> (carries, ys)``, ``[T, …]`` each.
      at_once: all steps side by side, each from a carry of its own:
        ``(params, carries, xs) -> (carries, ys)``. Neither may close over arrays.
      lags: how many further steps a loss reaches back.
      params: arrays that every step reads.
      carry: before the first step.
      xs: a tree of ``[T, …]``; what is not a floating-point array has no gradient.
      remedy: what an error about derivatives of second order advises.
      cast: inside ``shard_map``, whether every argument is to be of the type of one that differs
        over devices; False where ``at_once`` is fixed to the types that they have.

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
        gradients = _pulled(at_once, lags, cast, rejoin(inexact, rest), carries, cotangents)
        return [first_order_only(leaf, remedy) for leaf in gradients], None

    run.defvjp(run_and_keep, pull_back)
    # Inside shard_map: what is summed over devices is summed where these are cast, not by the rule.
    axes = varying_axes(*inputs) if cast else frozenset[str]()
    return run(vary_over(axes, inputs[0]), inputs[1])


def _pulled(
    at_once: Steps,
    lags: int,
    cast: bool,
    arguments: tuple[Params, Carry, Any],
    carries: Carry,
    cotangents: Any,
) -> list[Array]:
    """The gradients of the floating-point leaves of ``(params, carry, xs)``."""
    params, carry, xs = arguments
    before = jax.tree.map(
        lambda first, after: jnp.concatenate([first[None], after[:-1]], dtype=after.dtype),
        carry,
        carries,
    )
    (read, unread), rejoin = _split((params, xs))
    (states, others), restore = _split(before)

    def run(unread: list[Array], others: list[Array], read: Any, states: Any) -> Any:
        params, xs = rejoin(read, unread)
        after, ys = at_once(params, restore(states, others), xs)
        return _split(after)[0][0], _split(ys)[0][0]

    _, pull = jax.vjp(partial(run, unread, others), read, states)
    # Cotangents of integers are of a type without numbers; they carry nothing.
    ends, from_ys = (
        [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        for tree in cotangents
    )

    def lag(after: list[Array], _: None) -> tuple[list[Array], None]:
        _, back = pull((after, from_ys))
        later = [end.at[:-1].add(leaf[1:]) for end, leaf in zip(ends, back, strict=True)]
        return (vary_alike(later) if cast else later), None

    after, _ = lax.scan(lag, vary_alike(ends) if cast else ends, None, length=lags)
    read_bar, back = pull((after, from_ys))
    first = [leaf[0] for leaf in back]
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
