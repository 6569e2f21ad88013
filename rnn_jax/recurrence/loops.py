"""The loops there and back, by ``lax.scan``.

Differentiating a scan adds up the gradient of the recurrent matrix inside the loop, T times over
the whole matrix. Here the reverse loop only carries cotangents back, and the gradient of the matrix
is one product over all T steps. What the forward loop saves for it are the results of the costly
functions (tanh, exp, …) and what else the pointwise function's derivative needs; the cheap rest is
computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import select
from rnn_jax.arrays.products import affine, narrow_like, outer, widened
from rnn_jax.jaxprs import grouped, saving_costly, scan
from rnn_jax.recurrence.blocks import scan_blocks
from rnn_jax.recurrence.gradient_scale import scale_gradient, times
from rnn_jax.recurrence.plan import Loops, Operands, Plan, Results
from rnn_jax.recurrence.products import Multiply, Products
from rnn_jax.types import Array, Carry, Steps, state_dtype

__all__ = ["carry_before", "cut", "gradients", "joined", "make_loops", "only_valid", "plus"]


def make_loops(
    *,
    group: bool,
    parts: Callable[[Operands], int],
    products: Products,
    at_once: Callable[[Operands], int | None],
) -> Loops:
    """Loops by ``lax.scan``.

    Args:
      group: whether the costly functions are `grouped`.
      parts: into how many parts the batch is cut, which a step computes side by side.
      products: how to multiply by the recurrent matrix.
      at_once: for how many steps inputs are projected at once where nothing is saved; None for all.
    """

    def forward(plan: Plan, operands: Operands, save: bool) -> tuple[Results, Any]:
        cell, w, count = plan.cell, operands.w_hh, parts(operands)
        multiply = products.onward(w, operands.zs)
        size = None if save else at_once(operands)

        def pointwise(*arguments: Any) -> Any:
            if save:
                return jax.vjp(saving_costly(cell.pointwise_all), *arguments)
            return cell.pointwise_all(*arguments), None

        def one(carry: Carry, initial: Carry, step: Any) -> Any:
            z, valid, factor, reset = step
            # Only the derivative of the derivative sees the factor here; values do not change.
            before = scale_gradient(carry, factor) if save and factor is not None else carry
            if reset is not None:
                before = select(reset, initial, before)
            fed = cell.fed(before)
            z, r = plus(z, operands.b), plus(multiply(fed), operands.b_hh)
            arguments = (operands.theta, before, cell.split(z), cell.split(r))
            (new, y), pullback = (grouped(pointwise) if group else pointwise)(*arguments)
            y = y.astype(w.dtype)
            if valid is not None:
                new, y = select(valid, new, carry), select(valid, y, jnp.zeros_like(y))
            kept = new if plan.every else None
            # As the product read it: of 16 bits it takes half the memory.
            return new, (kept, y, fed.astype(w.dtype) if save else None), pullback

        initials = cut(operands.initial, count)

        def body(carries: list[Carry], step: Any) -> Any:
            steps = zip(carries, initials, cut(step, count), strict=True)
            new, outputs, pullbacks = zip(*(one(*args) for args in steps), strict=True)
            return list(new), (joined(outputs), pullbacks)

        inputs, prepare = operands.zs, lambda steps: steps
        if size is not None and operands.inputs is not None:
            inputs, w_ih = operands.inputs
            prepare = lambda steps: (affine(steps[0], w_ih), *steps[1:])  # noqa: E731
        carries, ((kept, ys, feds), pullbacks) = scan_blocks(
            body,
            cut(operands.carry, count),
            (inputs, *operands.steps),
            prepare,
            size=size,
            reverse=plan.reverse,
        )
        return Results(joined(carries), kept, ys), (feds, pullbacks) if save else None

    def backward(plan: Plan, operands: Operands, saved: Any, cotangents: Results) -> Operands:
        cell, count = plan.cell, parts(operands)
        feds, pullbacks = saved
        multiply = products.back(operands.w_hh, operands.zs)

        def one(sums: Any, step: Any, pullback: Any) -> Any:
            dcarry, dtheta, dinitial = sums
            dkept, dy, valid, factor, reset = step
            if plan.every:
                dcarry = jax.tree.map(jnp.add, dcarry, dkept)
            dy, dnew = dy.astype(state_dtype(dy.dtype)), dcarry
            dnew, dy = only_valid(valid, (dnew, dy))
            theta, dbefore, dz, dr = pullback((dnew, dy))
            dz, dr = jnp.concatenate(dz, axis=-1), jnp.concatenate(dr, axis=-1)
            at = Steps(valid, factor, reset)
            dcarry, dreset = carry_before(cell, multiply, at, dcarry, dbefore, dr)
            if reset is not None:
                dinitial = jax.tree.map(jnp.add, dinitial, dreset)
            dtheta = jax.tree.map(jnp.add, dtheta, theta)
            return (dcarry, dtheta, dinitial), (dz, None if plan.sums else dr)

        def body(state: Any, step: Any) -> Any:
            sums, dzs = state
            t, pullbacks, *step = step
            steps = zip(sums, cut(step, count), pullbacks, strict=True)
            new, outputs = zip(*(one(*args) for args in steps), strict=True)
            dz, dr = joined(outputs)
            return (list(new), lax.dynamic_update_index_in_dim(dzs, dz, t, 0)), dr

        zeros = jax.tree.map(jnp.zeros_like, (widened(operands.theta), operands.initial))
        sums = [
            (dcarry, zeros[0], dinitial)
            for dcarry, dinitial in zip(
                cut(cotangents.carry, count), cut(zeros[1], count), strict=True
            )
        ]
        steps = (
            jnp.arange(operands.zs.shape[0]), pullbacks, cotangents.carries, cotangents.ys,
            *operands.steps,
        )  # fmt: skip
        # The cotangents take the place of the input products, which nothing needs any more.
        buffer = lax.stop_gradient(operands.zs)
        (sums, dzs), drs = scan(body, (sums, buffer), steps, reverse=not plan.reverse)
        return gradients(plan, operands, feds, tuple(zip(*sums, strict=True)), (dzs, drs))

    return Loops(forward, backward)


def only_valid(mask: Array | None, cotangents: Any) -> Any:
    """What a step's new carry and output are sent back: nothing where it is masked."""
    if mask is None:
        return cotangents
    return select(mask, cotangents, jax.tree.map(jnp.zeros_like, cotangents))


def carry_before(
    cell: Any, multiply: Multiply, steps: Steps, after: Carry, direct: Carry, dr: Array
) -> tuple[Carry, Carry]:
    """What steps send back to the carry before them, and to the initial one that resets put there.

    For one step ``[B, …]`` or all of them ``[T, B, …]``.

    Args:
      cell: whose leaf `fed` the recurrent matrix multiplies.
      multiply: by ``W_hhᵀ``.
      steps: where masked the carry was held, and ``after`` passes.
      after: what came back to the carry after the steps.
      direct: what its units send to the carry before.
      dr: and to the recurrent products.

    Returns:
      The second is None where nothing resets.
    """
    _, fed = jax.vjp(cell.fed, direct)
    before, initial = jax.tree.map(jnp.add, direct, *fed(multiply(dr))), None
    if steps.resets is not None:
        zeros = jax.tree.map(jnp.zeros_like, before)
        initial = select(steps.resets, before, zeros)
        before = select(steps.resets, zeros, before)
    if (factor := steps.gradient_scale) is not None:
        before = jax.tree.map(lambda d: times(d, factor), before)
    return (before if steps.mask is None else select(steps.mask, before, after)), initial


def gradients(
    plan: Plan, operands: Operands, feds: Array, sums: tuple[Any, ...], steps: Any
) -> Operands:
    """The cotangents of the operands from those of the parts and steps.

    Args:
      plan: what is fixed.
      operands: what was read.
      feds: ``[T, B, H]``, what the recurrent matrix multiplied.
      sums: for each part the cotangents of its first carry, of ``θ`` and of its initial carry.
      steps: those of the input products, and of the recurrent ones where they differ.
    """
    (dcarries, dthetas, dinitials), (dzs, drs), w = sums, steps, operands.w_hh
    drs = dzs if plan.sums else drs
    dtheta = jax.tree.map(lambda *leaves: sum(leaves), *dthetas)
    return Operands(
        narrow_like(dtheta, operands.theta),
        outer(_rows(feds), _rows(drs).astype(w.dtype)).astype(w.dtype),
        _row_sum(dzs, operands.b),
        _row_sum(drs, operands.b_hh),
        joined(dcarries),
        joined(dinitials),
        dzs,
        Steps(),
    )  # fmt: skip


def plus(product: Array, bias: Array | None) -> Array:
    """``product [..., G·H]`` with its bias, if it has one."""
    return product if bias is None else product + bias.reshape((1,) * (product.ndim - 1) + (-1,))


def _rows(steps: Array) -> Array:
    return steps.reshape(-1, steps.shape[-1])


def _row_sum(cotangents: Array, bias: Array | None) -> Array | None:
    return None if bias is None else _rows(cotangents).sum(0).astype(bias.dtype)


def cut(tree: Any, parts: int) -> list[Any]:
    """``parts`` trees, each with its share of every leaf's first axis."""
    if parts == 1:
        return [tree]

    def share(i: int, leaf: Array) -> Array:
        size = leaf.shape[0] // parts
        return leaf[i * size : (i + 1) * size]

    return [jax.tree.map(lambda leaf, i=i: share(i, leaf), tree) for i in range(parts)]


def joined(trees: Any) -> Any:
    """The trees that `cut` made, as one again."""
    if len(trees) == 1:
        return trees[0]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)
