"""What a recurrence reads and returns, and what is fixed when it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnn_jax.cells import PointwiseCell
from rnn_jax.jaxprs import only_added
from rnn_jax.recurrence.gpu.settings import Kernel
from rnn_jax.types import Array, Carry, Params, Steps

__all__ = ["Loops", "Operands", "Plan", "Results", "reads_only_sums"]


@dataclass(frozen=True)
class Plan:
    """What is fixed when a recurrence is compiled.

    every: whether the carry after every step is kept.
    sums: see `reads_only_sums`.
    lags: how many steps a loss reaches back beyond its own; None for all.
    kernel: settings of the kernel that runs it on a GPU; None for the scans of every platform.
    """

    cell: PointwiseCell
    reverse: bool
    every: bool
    sums: bool
    lags: int | None = None
    kernel: Kernel | None = None


class Operands(NamedTuple):
    """What a recurrence reads: parameters, carries and the steps, ``[T, B, …]``.

    ``b`` is added to the input products ``zs``, ``b_hh`` to the recurrent ones. ``initial`` is what
    a reset puts in place of the carry. ``steps`` are `settled`: factors and resets stand on valid
    steps only.

    ``inputs`` are ``xs [T, B, D]`` and ``w_ih`` where the ``zs`` are their product and nothing
    more. A loop reads one or the other, and XLA drops what is not read; the derivatives are those
    of ``zs``.
    """

    theta: Params
    w_hh: Array
    b: Array | None
    b_hh: Array | None
    carry: Carry
    initial: Carry
    zs: Array
    steps: Steps
    inputs: tuple[Array, Array] | None = None


class Results(NamedTuple):
    """The carry after the last step, the carries after every step if kept, and the outputs."""

    carry: Carry
    carries: Carry
    ys: Array


class Loops(NamedTuple):
    """One way to run a recurrence there and back.

    forward: ``(plan, operands, save) -> (results, saved)``; ``saved``, a tree of arrays or None,
      is what ``backward`` needs beside the operands.
    backward: ``(plan, operands, saved, cotangents of results) -> cotangents of operands``, None
      for the steps.
    """

    forward: Callable[[Plan, Operands, bool], tuple[Results, Any]]
    backward: Callable[[Plan, Operands, Any, Results], Operands]


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
    return only_added(cell.pointwise, gates, *units)
