"""The way back of sliding windows: all steps at once, one sweep for each lag."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.recurrence.loops import carry_before, cut, gradients, joined, only_valid
from rnn_jax.recurrence.plan import Operands, Plan, Results
from rnn_jax.recurrence.products import PLAIN
from rnn_jax.types import Array, Carry, Steps, state_dtype

__all__ = ["RUN_WINDOWS", "first_order_only", "sweep_back"]

RUN_WINDOWS = "pass truncate(…, reference=True), which runs every window"


def sweep_back(plan: Plan, operands: Operands, saved: Any, cotangents: Results) -> Operands:
    """The cotangents of the operands where a loss reaches ``plan.lags`` steps back.

    With ``pull_c`` from the carries after all steps, and their outputs, to the carries before them:

        Λ⁰ = c̄        Λʲ⁺¹ = c̄ + shift(pull_c(Λʲ, ȳ))

    where ``shift`` is by one step, from the carry before it to that after the one before. ``Λᵏ``
    holds what ``k`` lags bring, and parameters and inputs are pulled back from it once. What the
    forward loop saved for a step serves all sweeps: nothing is computed forwards again.
    """
    feds, pullbacks = saved
    ends = jax.tree.map(lambda c, end: c.at[-1].add(end), cotangents.carries, cotangents.carry)
    parts = jax.vmap(partial(cut, parts=len(pullbacks)))((ends, cotangents.ys, operands.steps))
    results = [
        _part(plan, operands, pullback, *part)
        for pullback, part in zip(pullbacks, parts, strict=True)
    ]
    dcarries, dthetas, dinitials, steps = zip(*results, strict=True)
    steps = jax.vmap(joined)(steps)
    found = gradients(plan, operands, feds, (dcarries, dthetas, dinitials), steps)
    return jax.tree.map(lambda leaf: first_order_only(leaf, RUN_WINDOWS), found)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def first_order_only(leaf: Array, remedy: str, by: str = "sliding() by lagged pull-backs") -> Array:
    """``leaf``, which cannot be differentiated; the error says so, and the remedy.

    By lagged pull-backs it was computed from carries that are kept, as if they were constants;
    those inside a window depend on the parameters.
    """
    return leaf


@first_order_only.defjvp
def _refuse(remedy: str, by: str, primals: Any, tangents: Any) -> Any:
    raise ValueError(f"{by} has first derivatives only: for higher ones {remedy}")


def _part(
    plan: Plan, operands: Operands, pullback: Any, ends: Carry, dys: Array, steps: Steps
) -> tuple[Any, Carry, Carry, Any]:
    """For some rows the cotangents of the first carry, θ, the initial carry and the products."""
    cell, multiply = plan.cell, PLAIN.back(operands.w_hh, operands.zs)
    dys = dys.astype(state_dtype(dys.dtype))

    def pointwise(after: Carry) -> Any:
        """From the carries after the steps to θ, the carries before them, and the products."""
        given = only_valid(steps.mask, (after, dys))
        theta, before, dz, dr = jax.vmap(lambda pull, given: pull(given))(pullback, given)
        return theta, before, dz, jnp.concatenate(dr, axis=-1)

    def sweep(after: Carry, _: None) -> tuple[Carry, None]:
        _, direct, _, dr = pointwise(after)
        later = jax.tree.map(lambda leaf: leaf[1:], (steps, after, direct, dr))
        back, _ = carry_before(cell, multiply, *later)
        return jax.tree.map(lambda end, c: end.at[:-1].add(c), ends, back), None

    # Written out, sweeps need no copies between them; many of them would only hold memory.
    after, _ = lax.scan(sweep, ends, None, length=plan.lags, unroll=8)
    theta, direct, dz, dr = pointwise(after)
    everything = steps, after, direct, dr
    if steps.resets is None:  # else any carry may come from the initial one
        everything = jax.tree.map(lambda leaf: leaf[:1], everything)
    first, reset = carry_before(cell, multiply, *everything)
    initial = jax.tree.map(lambda d: d.sum(0), reset)
    dz = dr if plan.sums else jnp.concatenate(dz, axis=-1)
    theta, first = jax.tree.map(lambda d: d.sum(0), theta), jax.tree.map(lambda d: d[0], first)
    return first, theta, initial, (dz, None if plan.sums else dr)
