"""All steps of a `PointwiseCell`, by the fast recurrence."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rnn_jax.arrays.tokens import is_ids
from rnn_jax.cells import PointwiseCell
from rnn_jax.host.checks import check_members
from rnn_jax.jaxprs import jit_disabled, returns_an_argument, vary_alike
from rnn_jax.recurrence import engine
from rnn_jax.recurrence.gpu.loops import form_of
from rnn_jax.recurrence.gpu.settings import Kernel
from rnn_jax.recurrence.plan import Operands, Plan, Results, reads_only_sums
from rnn_jax.types import Array, Carry, Params, Steps

__all__ = ["is_fast", "unroll_pointwise"]


def is_fast(cell: PointwiseCell, carry: Carry, length: int) -> bool:
    """Whether the fast recurrence can run the cell: every leaf of its carry has a gradient.

    And `fed` is one of them. Without jit there is nothing to gain, and what the loops save could
    not be stacked.
    """
    if length == 0 or jit_disabled():
        return False
    differentiable = (jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(carry))
    return returns_an_argument(cell.fed, carry) and all(differentiable)


def unroll_pointwise(
    cell: PointwiseCell,
    params: Params,
    carry: Carry,
    xs: Array,
    steps: Steps,
    *,
    reverse: bool,
    every: bool,
    lags: int | None = None,
    kernel: Kernel | None = None,
) -> Results:
    """The cell's fast form; see `rnn_jax.recurrence.engine`.

    Args:
      cell: one that `is_fast`.
      params: its parameters.
      carry: ``c_{-1} [B, …]``.
      xs: ``[T, B, …]``, filled where masked.
      steps: `settled`.
      reverse: from the last step to the first.
      every: whether the carry after every step is kept.
      lags: how many steps a loss reaches back beyond its own; None for all.
      kernel: settings of the kernel that runs it on a GPU; None for scans.

    Raises:
      ValueError: the kernel does not take these dtypes or sizes.
    """
    resets = steps.resets
    initial = None if resets is None else cell.initial_carry(resets.shape[1:], params)
    check_members(cell, params)
    params, b = dict(params), None
    if cell.bias_by_step:
        # Added inside the loop a bias costs nothing; here it would be one more pass over all steps.
        b = params.pop("b", None)
    zs = cell.project(params, xs)  # which refuses parameters of another cell
    operands = Operands(
        theta=cell.theta(params),
        w_hh=params["w_hh"],
        b=b,
        b_hh=params.get("b_hh"),
        carry=carry,
        initial=initial,
        zs=zs,
        steps=steps,
        inputs=(xs, params["w_ih"]) if cell.bias_by_step and not is_ids(xs) else None,
    )
    plan = Plan(cell, reverse, every, reads_only_sums(cell, operands), lags, kernel)
    if kernel is not None:
        form_of(plan, operands)  # which refuses what it does not take, wherever it will run
    return engine.run(plan, vary_alike(operands))
