"""The kernel of the way there: all steps of some rows in one block of threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from rnn_jax.recurrence.gpu.form import Form, Steps, every_unit
from rnn_jax.recurrence.gpu.launch import launch
from rnn_jax.recurrence.gpu.product import matrix_row, total

__all__ = ["Read", "Written", "run"]


class Read(NamedTuple):
    """What the kernel reads; units and rows are padded.

    matrix: ``[H·G, Hₚ]``, row ``k·G + g`` what unit ``k`` adds to gate ``g``.
    zs: ``[T, Bₚ, G, Hₚ]``, with their bias.
    b_hh: ``[G, Hₚ]`` or None.
    theta: leaves ``[Hₚ]``.
    carry, initial: leaves ``[Bₚ, Hₚ]``; no initial ones where nothing resets.
    """

    matrix: Any
    zs: Any
    b_hh: Any
    theta: list[Any]
    carry: list[Any]
    initial: list[Any]
    steps: Steps


class Written(NamedTuple):
    """What it writes.

    carry: after the last step, leaves ``[Bₚ, Hₚ]``.
    ys: ``[T, Bₚ, Hₚ]``.
    kept: the carries after every step, leaves ``[T, Bₚ, Hₚ]``, if asked for.
    before: what the pointwise function read of them, for the way back.
    products: ``[T, Bₚ, G, Hₚ]``, the recurrent ones, or the sums where only those are read.
    """

    carry: list[Any]
    ys: Any
    kept: list[Any]
    before: list[Any]
    products: Any


def run(
    form: Form,
    fed: Callable[[Any], Any],
    pointwise: Callable[..., Any],
    read: Read,
    *,
    save: bool,
) -> Written:
    """The recurrence.

    Args:
      form: what is fixed.
      fed: the leaf of a carry that is multiplied.
      pointwise: from leaves of θ, the carry, ``G`` input and ``G`` recurrent products of one row,
        ``[Hₚ]`` each, to the leaves of the new carry and the output.
      read: the arrays.
      save: whether ``before`` and ``products`` are wanted.
    """
    leaves, steps = len(read.carry), (form.steps, form.batch)
    written = Written(
        carry=[form.vector(form.batch)] * leaves,
        ys=form.vector(*steps, dtype=form.dtype),
        kept=[form.vector(*steps)] * (leaves if form.every else 0),
        before=[form.vector(*steps)] * (leaves if save else 0),
        products=form.vector(*steps, form.gates) if save else None,
    )
    exchange = form.vector(form.rows, dtype=form.dtype)
    block = partial(_recur, form, fed, pointwise)
    result: Written = launch(form, block, read, written, exchange)
    return result


def _recur(
    form: Form,
    fed: Callable[[Any], Any],
    pointwise: Callable[..., Any],
    read: Read,
    written: Written,
    exchange: Any,
    matrix: Any,
) -> None:
    """What one block does."""
    first, rows, gates = lax.axis_index("block") * form.rows, range(form.rows), range(form.gates)

    def inputs(t: Any) -> Any:
        return [[read.zs[t, first + b, g] for g in gates] for b in rows]

    def step(i: Any, state: Any) -> Any:
        t = form.at(i)
        carries, zs = state if form.ahead else (state, inputs(t))
        # Read now, waited for at the next step.
        following = inputs(form.at(jnp.minimum(i + 1, form.steps - 1))) if form.ahead else None
        before = [_reset(form, read, t, first + b, carries[b]) for b in rows]
        for b in rows:
            exchange[b] = fed(form.tree(before[b])).astype(form.dtype)

        def term(k: Any) -> Any:
            lines = [matrix_row(form, matrix, k, g) for g in gates]
            numbers = [exchange[b, k].astype(jnp.float32) for b in rows]
            return [[number * line for line in lines] for number in numbers]

        products = total(form, term)
        new = [
            _advance(form, pointwise, read, written, t, first + b, carries[b], before[b],
                     zs[b], products[b])
            for b in rows
        ]  # fmt: skip
        return form.spread((new, following) if form.ahead else new)

    start = [[leaf[first + b] for leaf in read.carry] for b in rows]
    state = lax.fori_loop(0, form.steps, step, (start, inputs(form.at(0))) if form.ahead else start)
    for b, carry in enumerate(state[0] if form.ahead else state):
        for leaf, value in zip(written.carry, carry, strict=True):
            leaf[first + b] = value


def _reset(form: Form, read: Read, t: Any, row: Any, carry: list[Any]) -> list[Any]:
    """The carry before a step: the initial one where a new sequence begins."""
    if read.steps.resets is None:
        return carry
    flag = every_unit(form, read.steps.resets[t, row]) != 0
    return [jnp.where(flag, i[row], c) for i, c in zip(read.initial, carry, strict=True)]


def _advance(
    form: Form,
    pointwise: Callable[..., Any],
    read: Read,
    written: Written,
    t: Any,
    row: Any,
    carry: list[Any],
    before: list[Any],
    z: list[Any],
    r: list[Any],
) -> list[Any]:
    """The pointwise function of one row, and what is written of it: its carry after the step."""
    if read.b_hh is not None:
        r = [one + read.b_hh[g] for g, one in enumerate(r)]
    *new, y = pointwise(*[leaf[...] for leaf in read.theta], *before, *z, *r)
    if read.steps.mask is not None:
        valid = every_unit(form, read.steps.mask[t, row]) != 0
        new = [jnp.where(valid, n, c) for n, c in zip(new, carry, strict=True)]
        y = jnp.where(valid, y, jnp.zeros_like(y))
    written.ys[t, row] = form.spread(y).astype(form.dtype)
    for leaf, value in zip(written.kept, new if form.every else [], strict=True):
        leaf[t, row] = form.spread(value)
    if written.products is not None:
        for leaf, value in zip(written.before, before, strict=True):
            leaf[t, row] = value
        for g in range(form.gates):
            written.products[t, row, g] = z[g] + r[g] if form.sums else r[g]
    return new
