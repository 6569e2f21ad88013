"""The kernel of the way back: cotangents of all steps of some rows in one block of threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.recurrence.gpu.form import Form, Steps, every_unit
from rnn_jax.recurrence.gpu.launch import launch
from rnn_jax.recurrence.gpu.product import matrix_row, total

__all__ = ["Read", "Written", "run"]


class Read(NamedTuple):
    """What the kernel reads; units and rows are padded.

    matrix: ``[H·G, Hₚ]``, row ``j·G + g`` what unit ``j`` of gate ``g`` sends back.
    theta: leaves ``[Hₚ]``.
    before, products: what the way there wrote.
    zs: ``[T, Bₚ, G, Hₚ]``; None where only their sums with the products are read.
    carry, kept, ys: cotangents of what the way there wrote.
    """

    matrix: Any
    theta: list[Any]
    before: list[Any]
    products: Any
    zs: Any
    carry: list[Any]
    kept: list[Any]
    ys: Any
    steps: Steps


class Written(NamedTuple):
    """The cotangents that it writes.

    carry, initial, theta: leaves ``[Bₚ, Hₚ]``, of each row.
    zs, products: ``[T, Bₚ, G, Hₚ]``; the second None where they are the same.
    """

    carry: list[Any]
    initial: list[Any]
    theta: list[Any]
    zs: Any
    products: Any


def run(form: Form, fed: Callable[[Any], Any], pull: Callable[..., Any], read: Read) -> Written:
    """The recurrence backwards.

    Args:
      form: what is fixed.
      fed: the leaf of a carry that is multiplied.
      pull: from leaves of θ, the carry before a step, its ``zs`` (if read) and products, and the
        cotangents of the new carry and the output, ``[Hₚ]`` each, to the cotangents of θ, of the
        carry before, of the input products, and of the recurrent ones where they differ.
      read: the arrays.
    """
    leaves, steps = len(read.carry), (form.steps, form.batch, form.gates)
    resets = read.steps.resets is not None
    written = Written(
        carry=[form.vector(form.batch)] * leaves,
        initial=[form.vector(form.batch)] * (leaves if resets else 0),
        theta=[form.vector(form.batch)] * len(read.theta),
        zs=form.vector(*steps),
        products=None if form.sums else form.vector(*steps),
    )
    exchange = form.vector(form.rows, form.gates, dtype=form.dtype)
    block = partial(_recur, form, fed, pull)
    result: Written = launch(form, block, read, written, exchange)
    return result


class _Sums(NamedTuple):
    """What one row sends back so far: to the carry, the initial one, and θ."""

    carry: list[Any]
    initial: list[Any]
    theta: list[Any]


class _Saved(NamedTuple):
    """What one row reads of a step."""

    before: list[Any]
    z: list[Any]
    products: list[Any]
    kept: list[Any]
    y: Any


def _recur(
    form: Form,
    fed: Callable[[Any], Any],
    pull: Callable[..., Any],
    read: Read,
    written: Written,
    exchange: Any,
    matrix: Any,
) -> None:
    """What one block does."""
    first, rows, gates = lax.axis_index("block") * form.rows, range(form.rows), range(form.gates)

    def saved(t: Any) -> Any:
        return [_saved(form, read, t, first + b) for b in rows]

    def step(i: Any, state: Any) -> Any:
        t = form.at(i, back=True)
        sums, at = state if form.ahead else (state, saved(t))
        following = None
        if form.ahead:
            following = saved(form.at(jnp.minimum(i + 1, form.steps - 1), back=True))
        pulled = [_pull(form, pull, read, written, t, first + b, sums[b], at[b]) for b in rows]
        for b in rows:
            for g in gates:
                exchange[b, g] = form.spread(pulled[b][2][g]).astype(form.dtype)

        def term(j: Any) -> Any:
            # A sum for every gate: they need not wait for each other.
            lines = [matrix_row(form, matrix, j, g) for g in gates]
            return [[exchange[b, g, j].astype(jnp.float32) * lines[g] for g in gates] for b in rows]

        products = [sum(each[1:], each[0]) for each in total(form, term)]
        sums = [
            _before(form, fed, read, t, first + b, pulled[b][0], pulled[b][1], products[b])
            for b in rows
        ]
        return form.spread((sums, following) if form.ahead else sums)

    zero = form.spread(jnp.zeros(form.padded, jnp.float32))
    start = [
        _Sums([leaf[first + b] for leaf in read.carry], [zero] * len(written.initial),
              [zero] * len(read.theta))
        for b in rows
    ]  # fmt: skip
    begin = (start, saved(form.at(0, back=True))) if form.ahead else start
    state = lax.fori_loop(0, form.steps, step, begin)
    for b, sums in enumerate(state[0] if form.ahead else state):
        targets = [*written.carry, *written.initial, *written.theta]
        for leaf, value in zip(targets, jax.tree.leaves(sums), strict=True):
            leaf[first + b] = value


def _saved(form: Form, read: Read, t: Any, row: Any) -> _Saved:
    gates = range(form.gates)
    return _Saved(
        before=[leaf[t, row] for leaf in read.before],
        z=[] if read.zs is None else [read.zs[t, row, g] for g in gates],
        products=[read.products[t, row, g] for g in gates],
        kept=[leaf[t, row] for leaf in read.kept],
        y=form.spread(read.ys[t, row]),
    )


def _pull(
    form: Form,
    pull: Callable[..., Any],
    read: Read,
    written: Written,
    t: Any,
    row: Any,
    sums: _Sums,
    at: _Saved,
) -> tuple[_Sums, list[Any], list[Any]]:
    """One row's sums with this step's, what its units send to the carry before, and to products."""
    dcarry, dy = sums.carry, at.y.astype(jnp.float32)
    if at.kept:
        dcarry = [c + k for c, k in zip(dcarry, at.kept, strict=True)]
    dnew = dcarry
    if read.steps.mask is not None:
        valid = every_unit(form, read.steps.mask[t, row]) != 0
        dnew, dy = jax.tree.map(lambda d: jnp.where(valid, d, jnp.zeros_like(d)), (dcarry, dy))
    theta, direct, dz, dr = pull(
        *[leaf[...] for leaf in read.theta], *at.before, *at.z, *at.products, *dnew, dy
    )
    for g in range(form.gates):
        written.zs[t, row, g] = form.spread(dz[g])
        if written.products is not None:
            written.products[t, row, g] = form.spread(dr[g])
    theta = [one + more for one, more in zip(sums.theta, theta, strict=True)]
    return _Sums(dcarry, sums.initial, theta), direct, dr


def _before(
    form: Form,
    fed: Callable[[Any], Any],
    read: Read,
    t: Any,
    row: Any,
    sums: _Sums,
    direct: list[Any],
    product: Any,
) -> _Sums:
    """What one row sends back once the step is pulled through; see `loops.carry_before`."""
    _, to_carry = jax.vjp(fed, form.tree(direct))
    back = [d + p for d, p in zip(direct, jax.tree.leaves(to_carry(product)), strict=True)]
    initial = sums.initial
    if read.steps.resets is not None:
        flag = every_unit(form, read.steps.resets[t, row]) != 0
        initial = [
            i + jnp.where(flag, d, jnp.zeros_like(d)) for i, d in zip(initial, back, strict=True)
        ]
        back = [jnp.where(flag, jnp.zeros_like(d), d) for d in back]
    if read.steps.factor is not None:
        factor = every_unit(form, read.steps.factor[t, row])
        # Zero where it is, even if the gradient is infinite.
        back = [jnp.where(factor == 0, jnp.zeros_like(d), factor * d) for d in back]
    if read.steps.mask is not None:
        valid = every_unit(form, read.steps.mask[t, row]) != 0
        back = [jnp.where(valid, d, c) for d, c in zip(back, sums.carry, strict=True)]
    return _Sums(back, initial, sums.theta)
