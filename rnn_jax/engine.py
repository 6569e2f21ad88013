"""The fast recurrence: one custom derivative for every cell of the pointwise form.

Differentiating a scan adds up the gradient of the recurrent matrix inside the loop, T times over
the whole matrix. Here the reverse loop only carries cotangents back, and the gradient of the matrix
is one product over all T steps. What the forward loop saves for it are the results of the costly
functions (tanh, exp, …) and what else the pointwise function's derivative needs; the cheap rest is
computed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.cells import PointwiseCell
from rnn_jax.gates import gate_gradient
from rnn_jax.masking import expand, select
from rnn_jax.products import product
from rnn_jax.types import Array, Carry, state_dtype

__all__ = ["LOOPS", "Loops", "Operands", "Plan", "Results", "reads_only_sums", "run"]


@dataclass(frozen=True)
class Plan:
    """What is fixed when a recurrence is compiled.

    ``sums``: see `reads_only_sums`; ``loops``: the entry of `LOOPS` that runs it.
    """

    cell: PointwiseCell
    reverse: bool
    keep_carries: bool
    sums: bool
    loops: str = "xla"


class Operands(NamedTuple):
    """What a recurrence reads: parameters, carries and the steps, ``[T, B, …]``.

    ``initial`` is what a reset puts in place of the carry. ``mask``, ``gate`` and ``resets`` are
    None for "not at all"; gates and resets stand on valid steps only.
    """

    theta: Any
    w_hh: Array
    b_hh: Array | None
    carry: Carry
    initial: Carry
    zs: Any
    mask: Array | None
    gate: Array | None
    resets: Array | None


class Results(NamedTuple):
    """The carry after the last step, the carries after every step if kept, and the outputs."""

    carry: Carry
    carries: Carry
    ys: Array


class Loops(NamedTuple):
    """One way to run a recurrence there and back; another is one more entry of `LOOPS`.

    forward: ``(plan, operands, save) -> (results, saved)``; ``saved``, a tree of arrays or None,
      is what ``backward`` needs.
    backward: ``(plan, operands, saved, cotangents of results) -> cotangents of operands``, None
      for the mask, the gate and the resets.
    """

    forward: Callable[[Plan, Operands, bool], tuple[Results, Any]]
    backward: Callable[[Plan, Operands, Any, Results], Operands]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def run(plan: Plan, operands: Operands) -> Results:
    """The recurrence of ``plan.cell``, with the derivative of its loops.

    Values, and derivatives of any order in reverse mode, are those of the plain scan. Pure forward
    mode (``jvp``) is not defined.
    """
    return LOOPS[plan.loops].forward(plan, operands, False)[0]


def _run_forward(plan: Plan, operands: Operands) -> tuple[Results, Any]:
    results, saved = LOOPS[plan.loops].forward(plan, operands, True)
    return results, (operands._replace(zs=None), saved)


def _run_backward(plan: Plan, residuals: Any, cotangents: Results) -> tuple[Operands]:
    operands, saved = residuals
    return (LOOPS[plan.loops].backward(plan, operands, saved, cotangents),)


run.defvjp(_run_forward, _run_backward)


def _forward(plan: Plan, operands: Operands, save: bool) -> tuple[Results, Any]:
    cell, w = plan.cell, operands.w_hh
    bias = operands.b_hh

    def body(carry: Carry, step: Any) -> Any:
        z, valid, factor, reset = step
        # Only the derivative of the derivative sees the gate here; values do not change.
        before = gate_gradient(carry, factor) if save and factor is not None else carry
        if reset is not None:
            before = select(reset, operands.initial, before)
        fed = cell.fed(before)
        r = product(fed, w)
        if bias is not None:
            r = r + bias.reshape((1,) * (r.ndim - 1) + (-1,))
        arguments = (operands.theta, before, cell.split(z), cell.split(r))
        if save:
            (new, y), pullback = jax.vjp(_saving_little(cell.pointwise_all), *arguments)
        else:
            (new, y), pullback = cell.pointwise_all(*arguments), None
        y = y.astype(w.dtype)
        if valid is not None:
            new, y = select(valid, new, carry), select(valid, y, jnp.zeros_like(y))
        kept = new if plan.keep_carries else None
        return new, (kept, y, (fed, pullback) if save else None)

    steps = (operands.zs, operands.mask, operands.gate, operands.resets)
    carry, (carries, ys, saved) = lax.scan(body, operands.carry, steps, reverse=plan.reverse)
    return Results(carry, carries, ys), saved


def _backward(plan: Plan, operands: Operands, saved: Any, cotangents: Results) -> Operands:
    cell, w = plan.cell, operands.w_hh
    feds, pullbacks = saved
    transposed = w.T

    def body(sums: Any, step: Any) -> Any:
        dcarry, dtheta, dinitial = sums
        dkept, dy, pullback, valid, factor, reset = step
        if plan.keep_carries:
            dcarry = jax.tree.map(jnp.add, dcarry, dkept)
        dy, dnew = dy.astype(state_dtype(dy.dtype)), dcarry
        if valid is not None:
            dnew, dy = select(valid, (dnew, dy), jax.tree.map(jnp.zeros_like, (dnew, dy)))
        theta, dbefore, dz, dr = pullback((dnew, dy))
        dz, dr = jnp.concatenate(dz, axis=-1), jnp.concatenate(dr, axis=-1)
        _, fed_pullback = jax.vjp(cell.fed, dbefore)
        dbefore = jax.tree.map(jnp.add, dbefore, *fed_pullback(product(dr, transposed)))
        if reset is not None:
            zeros = jax.tree.map(jnp.zeros_like, dbefore)
            dinitial = jax.tree.map(jnp.add, dinitial, select(reset, dbefore, zeros))
            dbefore = select(reset, zeros, dbefore)
        if factor is not None:
            dbefore = jax.tree.map(lambda d: d * expand(factor, d).astype(d.dtype), dbefore)
        dcarry = dbefore if valid is None else select(valid, dbefore, dcarry)
        dtheta = jax.tree.map(jnp.add, dtheta, theta)
        return (dcarry, dtheta, dinitial), (dr, None if plan.sums else dz)

    zeros = jax.tree.map(jnp.zeros_like, (operands.theta, operands.initial))
    steps = (
        cotangents.carries, cotangents.ys, pullbacks, operands.mask, operands.gate, operands.resets,
    )  # fmt: skip
    (dcarry, dtheta, dinitial), (drs, dzs) = lax.scan(
        body, (cotangents.carry, *zeros), steps, reverse=not plan.reverse
    )
    rows = drs.reshape(-1, drs.shape[-1])
    dw = product(feds.reshape(-1, feds.shape[-1]).T.astype(w.dtype), rows.astype(w.dtype))
    db = None if operands.b_hh is None else rows.sum(0).astype(operands.b_hh.dtype)
    return Operands(
        dtheta,
        dw.astype(w.dtype),
        db,
        dcarry,
        dinitial,
        drs if plan.sums else dzs,
        None,
        None,
        None,
    )


# Other loops, such as a fused kernel of a GPU, stand beside these under a name of their own.
LOOPS: dict[str, Loops] = {"xla": Loops(_forward, _backward)}

_COSTLY = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "div", "erf",
    "erf_inv", "erfc", "exp", "exp2", "expm1", "integer_pow", "log", "log1p", "logistic", "pow",
    "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh",
}  # fmt: skip


def _saving_little(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` whose derivative saves the results of costly operations and computes the rest.

    The LSTM's saves six arrays in place of fifteen.
    """

    def policy(primitive: Any, *_: Any, **__: Any) -> bool:
        return str(primitive) in _COSTLY

    return jax.checkpoint(function, policy=policy, prevent_cse=False)


def reads_only_sums(cell: PointwiseCell, operands: Operands) -> bool:
    """Whether every input product is only ever added to its gate's recurrent product.

    Then the two have the same cotangent, and it need not be kept twice.
    """

    def scalars(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.zeros((), leaf.dtype), tree)

    gates = operands.w_hh.shape[-1] // cell.hidden_size
    if operands.zs.shape[-1] != operands.w_hh.shape[-1]:
        return False
    scalar = jnp.zeros((), operands.zs.dtype)
    units = (scalars(operands.theta), scalars(operands.carry), (scalar,) * gates, (scalar,) * gates)
    jaxpr = jax.make_jaxpr(cell.pointwise)(*units).jaxpr
    uses = Counter(id(v) for eqn in jaxpr.eqns for v in eqn.invars)
    uses.update(id(v) for v in jaxpr.outvars)
    sums = {frozenset(map(id, e.invars)) for e in jaxpr.eqns if str(e.primitive) == "add"}
    products = [id(v) for v in jaxpr.invars[-2 * gates :]]
    pairs = zip(products[:gates], products[gates:], strict=True)
    return all(frozenset(p) in sums and uses[p[0]] == uses[p[1]] == 1 for p in pairs)
