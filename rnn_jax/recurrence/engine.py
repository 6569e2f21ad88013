"""The recurrence as one function with a derivative of its own."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.jaxprs import refuse
from rnn_jax.recurrence.gpu.loops import KERNELS
from rnn_jax.recurrence.loops import make_loops
from rnn_jax.recurrence.plan import Loops, Operands, Plan, Results
from rnn_jax.recurrence.products import LAID_OUT, PLAIN
from rnn_jax.recurrence.sweeps import first_order_only, sweep_back
from rnn_jax.types import Steps

__all__ = ["LOOPS", "run"]


_LEAST, _MOST = 16_384, 65_536  # entries of a step's input product
_CACHED = 2**18  # entries of the recurrent matrix, of float32 a megabyte


def _two_halves(operands: Operands) -> int:
    """2 where that was faster on a CPU of two cores: docs/speed.md has a table.

    The halves must be work enough to occupy a core each. A recurrent matrix that leaves a core's
    cache is read twice, and where a step's arrays are large XLA keeps both cores busy by itself.
    With one gate the pointwise work, which they share, is little beside the product.
    """
    _, *batch_shape, width = operands.zs.shape
    if len(batch_shape) != 1 or not isinstance(batch_shape[0], int):  # exported for any B
        return 1
    if width <= operands.w_hh.shape[0]:
        return 1
    (rows,) = batch_shape
    cached = operands.w_hh.size <= _CACHED
    return 2 if rows % 2 == 0 and cached and _LEAST < rows * width <= _MOST else 1


_HELD, _BLOCK = 2**23, 2**20  # entries of input products, of float32 32 MB and 4 MB


def _blocks(operands: Operands) -> int | None:
    """Steps whose inputs are projected at once: all, unless their products are large.

    Arrays above 32 MB are given fresh pages at every call, which the system must clear first.
    """
    if not all(isinstance(size, int) for size in operands.zs.shape) or operands.zs.size <= _HELD:
        return None
    length = operands.zs.shape[0]
    most = max(1, _BLOCK * length // operands.zs.size)
    # Outputs of whole blocks are in place; those of a shorter last one are copied behind them.
    return next((n for n in range(most, most // 2, -1) if length % n == 0), most)


# Scans, by platform.
LOOPS: dict[str, Loops] = {
    "default": make_loops(
        group=False, parts=lambda operands: 1, products=PLAIN, at_once=lambda operands: None
    ),
    "cpu": make_loops(group=True, parts=_two_halves, products=LAID_OUT, at_once=_blocks),
}


def run(plan: Plan, operands: Operands) -> Results:
    """The recurrence of ``plan.cell``, by the loops of the platform that it is compiled for.

    Values, and derivatives in reverse mode, are those of the plain scan: of any order by scans, of
    the first by a kernel. Pure forward mode (``jvp``) is not defined.

    Raises:
      ValueError: it is compiled for a platform that ``plan.kernel`` is not for.
    """
    if plan.kernel is not None and plan.kernel.interpret:
        return _run("cuda", plan, operands)
    loops = {platform: partial(_run, platform, plan) for platform in _loops_of(plan)}
    results: Results = lax.platform_dependent(operands, **loops)
    return results


_NO_GPU = (
    "backend='pallas' is compiled for NVIDIA's GPUs only, and this program for another platform: "
    "pass backend='auto'"
)


def _refuse(plan: Plan, operands: Operands, save: bool) -> tuple[Results, Any]:
    plain = LOOPS["default"].forward
    shapes = jax.eval_shape(lambda operands: plain(plan, operands, False)[0], operands)
    results: Results = refuse(_NO_GPU, shapes, operands)
    return results, None


def _refuse_back(plan: Plan, operands: Operands, saved: Any, cotangents: Results) -> Operands:
    found: Operands = refuse(_NO_GPU, operands._replace(steps=Steps(), inputs=None), cotangents)
    return found


def _kernel(plan: Plan, operands: Operands, save: bool) -> tuple[Results, Any]:
    return KERNELS.forward(plan, _once(operands) if save else operands, save)


def _kernel_back(plan: Plan, operands: Operands, saved: Any, cotangents: Results) -> Operands:
    return KERNELS.backward(plan, operands, saved, _once(cotangents))


def _once(tree: Any) -> Any:
    """``tree``, for a kernel whose derivative is another kernel, which itself has none."""

    def leaf(x: Any) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        return first_order_only(x, "pass backend='auto'", "backend='pallas'")

    return jax.tree.map(leaf, tree)


# By platform, where a kernel is asked for.
_KERNEL = {
    "cuda": Loops(_kernel, _kernel_back),
    "default": Loops(_refuse, _refuse_back),
}


def _loops_of(plan: Plan) -> dict[str, Loops]:
    return LOOPS if plan.kernel is None else _KERNEL


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(platform: str, plan: Plan, operands: Operands) -> Results:
    return _loops_of(plan)[platform].forward(plan, operands, False)[0]


def _forward(platform: str, plan: Plan, operands: Operands) -> tuple[Results, Any]:
    results, saved = _loops_of(plan)[platform].forward(plan, operands, True)
    return results, (operands, saved)


def _backward(platform: str, plan: Plan, residuals: Any, cotangents: Results) -> tuple[Operands]:
    operands, saved = residuals
    back = _loops_of(plan)[platform].backward if plan.lags is None else sweep_back
    return (back(plan, operands, saved, cotangents),)


_run.defvjp(_forward, _backward)
