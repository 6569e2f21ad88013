"""The loops there and back as kernels of a GPU, in the place of scans."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnn_jax.arrays.products import narrow_like, widened
from rnn_jax.jaxprs import device, kernel_function, saving_costly
from rnn_jax.recurrence.gpu import backward, forward
from rnn_jax.recurrence.gpu.form import Form, Steps, pad, unpad
from rnn_jax.recurrence.gpu.settings import Kernel
from rnn_jax.recurrence.gpu.tiles import Sizes, tile_of
from rnn_jax.recurrence.loops import gradients, plus
from rnn_jax.recurrence.plan import Loops, Operands, Plan, Results
from rnn_jax.types import Array

__all__ = ["KERNELS", "form_of"]

_DTYPES = (jnp.float32, jnp.bfloat16)


class _Saved(NamedTuple):
    """What the way there wrote for the way back, padded."""

    before: list[Array]
    products: Array


def form_of(plan: Plan, operands: Operands) -> Form:
    """The kernel's form, or why there is none.

    Raises:
      ValueError: a dtype or size that it does not take, or no memory for it.
    """
    settings, w = plan.kernel or Kernel(), operands.w_hh
    carry, shape = operands.carry, operands.zs.shape
    if not all(isinstance(size, int) for size in shape):
        raise ValueError(
            "backend='pallas' is compiled for one T and one B, and cannot be exported for any: "
            "pass backend='auto'"
        )
    wide = {"input products": operands.zs, "carry": carry, "parameters of units": operands.theta}
    leaves = [("recurrent matrix", w, _DTYPES)] + [
        (name, leaf, (jnp.float32,) if name != "parameters of units" else _DTYPES)
        for name, tree in wide.items()
        for leaf in jax.tree.leaves(tree)
    ]
    for name, leaf, dtypes in leaves:
        if leaf.dtype not in dtypes:
            raise ValueError(
                f"backend='pallas' takes parameters of float32 or bfloat16, and the {name} has "
                f"dtype {leaf.dtype}: pass backend='auto'"
            )
    units = plan.cell.hidden_size
    gates = w.shape[-1] // units
    if (
        w.shape[0] != units
        or shape[-1] != w.shape[-1]
        or any(leaf.shape[-1] != units for leaf in jax.tree.leaves((carry, operands.theta)))
    ):
        raise ValueError(
            "backend='pallas' takes cells whose carry and both products have one block of H a "
            f"gate, and here w_hh is {w.shape} and the input products {shape}: pass backend='auto'"
        )
    rows = math.prod(shape[1:-1])
    sizes = Sizes(
        rows=rows,
        units=units,
        gates=gates,
        leaves=len(jax.tree.leaves(carry)),
        parameters=len(jax.tree.leaves(operands.theta)),
        itemsize=w.dtype.itemsize,
        sums=plan.sums,
    )
    tile = tile_of(settings, sizes, None if settings.interpret else device())
    return Form(
        steps=shape[0],
        count=rows,
        rows=tile.rows,
        blocks=max(1, -(-rows // tile.rows)),
        units=units,
        padded=sizes.padded,
        gates=gates,
        carry=jax.tree.structure(carry),
        dtype=w.dtype,
        reverse=plan.reverse,
        every=plan.every,
        sums=plan.sums,
        unroll=settings.unroll,
        ahead=settings.ahead,
        interpret=settings.interpret,
        resident=tile.resident,
    )


def _forward(plan: Plan, operands: Operands, save: bool) -> tuple[Results, Any]:
    form, shape = form_of(plan, operands), operands.zs.shape[1:-1]
    pointwise = _pointwise(plan, operands, form)
    count = len(jax.tree.leaves(operands.carry)) + len(jax.tree.leaves(operands.theta))
    vectors = [form.vector()] * (count + 2 * form.gates)
    read = forward.Read(
        matrix=pad(form, _lines(form, operands.w_hh)),
        zs=_inputs(form, operands),
        b_hh=None if operands.b_hh is None else _gates(form, operands.b_hh),
        theta=_theta(form, operands),
        carry=_carry(form, operands.carry),
        initial=_carry(form, operands.initial),
        steps=_steps(form, operands),
    )
    fed = plan.cell.fed
    written = forward.run(form, fed, kernel_function(pointwise, *vectors), read, save=save)
    carry = form.tree([unpad(form, leaf, shape, 0) for leaf in written.carry])
    kept = form.tree([unpad(form, leaf, shape, 1) for leaf in written.kept]) if plan.every else None
    results = Results(carry, kept, unpad(form, written.ys, shape, 1))
    if not save:
        return results, None
    if plan.lags is not None:
        return results, _for_sweeps(plan, operands, form, written)
    return results, _Saved(written.before, written.products)


def _for_sweeps(plan: Plan, operands: Operands, form: Form, written: forward.Written) -> Any:
    """What `sweep_back` reads: nothing of it depends on another step."""
    shape, cell = operands.zs.shape[1:-1], plan.cell
    before = form.tree([unpad(form, leaf, shape, 1) for leaf in written.before])
    products = unpad(form, written.products, shape, 1)
    r = tuple(products[..., g, :] for g in range(form.gates))
    z = tuple(jnp.zeros_like(one) for one in r)
    if not form.sums:
        z = cell.split(plus(operands.zs, operands.b))

    def pullback(before: Any, z: Any, r: Any) -> Any:
        function = saving_costly(cell.pointwise_all)
        return jax.vjp(function, operands.theta, before, z, r)[1]

    feds = cell.fed(before).astype(form.dtype)
    return feds, (jax.vmap(pullback)(before, z, r),)


def _backward(plan: Plan, operands: Operands, saved: _Saved, cotangents: Results) -> Operands:
    form, shape = form_of(plan, operands), operands.zs.shape[1:-1]
    leaves, parameters = len(saved.before), len(jax.tree.leaves(operands.theta))
    pull = _pull(plan, operands, form)
    products = form.gates * (1 if form.sums else 2)
    vectors = [form.vector()] * (parameters + leaves + products + leaves + 1)
    transposed = operands.w_hh.reshape(form.units, form.gates, form.units).transpose(2, 1, 0)
    read = backward.Read(
        matrix=pad(form, transposed.reshape(-1, form.units)),
        theta=_theta(form, operands),
        before=saved.before,
        products=saved.products,
        zs=None if form.sums else _inputs(form, operands),
        carry=_carry(form, cotangents.carry),
        kept=_carry(form, cotangents.carries, 1) if plan.every else [],
        ys=_rows(form, cotangents.ys, 1),
        steps=_steps(form, operands),
    )
    written = backward.run(form, plan.cell.fed, kernel_function(pull, *vectors), read)

    def steps(x: Array) -> Array:
        """``[T, Bₚ, G, Hₚ]`` as ``[T, *B, G·H]``."""
        return unpad(form, x, shape, 1).reshape(operands.zs.shape)

    before = form.tree([unpad(form, leaf, shape, 1) for leaf in saved.before])
    dinitial = None
    if operands.initial is not None:
        dinitial = form.tree([unpad(form, leaf, shape, 0) for leaf in written.initial])
    theta = [unpad(form, leaf, (form.count,), 0).sum(0) for leaf in written.theta]
    sums = (
        (form.tree([unpad(form, leaf, shape, 0) for leaf in written.carry]),),
        (jax.tree.unflatten(jax.tree.structure(operands.theta), theta),),
        (dinitial,),
    )
    dzs = steps(written.zs)
    drs = None if written.products is None else steps(written.products)
    return gradients(plan, operands, plan.cell.fed(before), sums, (dzs, drs))


def _pointwise(plan: Plan, operands: Operands, form: Form) -> Callable[..., Any]:
    """The pointwise function as `forward.run` calls it."""
    structure: Any = jax.tree.structure(operands.theta)
    parameters, leaves = structure.num_leaves, form.carry.num_leaves

    def function(*args: Array) -> list[Array]:
        ends = (parameters, parameters + leaves, parameters + leaves + form.gates)
        wide = jax.tree.unflatten(structure, args[: ends[0]])
        theta, carry = narrow_like(wide, operands.theta), form.tree(list(args[ends[0] : ends[1]]))
        new, y = plan.cell.pointwise_all(theta, carry, args[ends[1] : ends[2]], args[ends[2] :])
        return [*jax.tree.leaves(new), y.astype(jnp.float32)]

    return function


def _pull(plan: Plan, operands: Operands, form: Form) -> Callable[..., Any]:
    """Its pull-back as `backward.run` calls it: the function is computed again."""
    function, leaves = _pointwise(plan, operands, form), form.carry.num_leaves
    parameters = len(jax.tree.leaves(operands.theta))

    def pull(*args: Array) -> tuple[list[Array], ...]:
        given, cotangents = args[: -leaves - 1], args[-leaves - 1 :]
        of = function
        if form.sums:
            none = [jnp.zeros(form.padded, jnp.float32)] * form.gates
            of = lambda *given: function(*given, *none)  # noqa: E731
        found = list(jax.vjp(of, *given)[1](list(cotangents)))
        theta, found = found[:parameters], found[parameters:]
        before, found = found[:leaves], found[leaves:]
        return theta, before, found[: form.gates], found[-form.gates :]

    return pull


def _lines(form: Form, w: Array) -> Array:
    """``[H, G·H]`` as ``[H·G, H]``."""
    return w.reshape(form.units * form.gates, form.units)


def _gates(form: Form, x: Array) -> Array:
    """``[..., G·H]`` as ``[..., G, Hₚ]`` of float32."""
    return pad(form, x.reshape(*x.shape[:-1], form.gates, form.units).astype(jnp.float32))


def _inputs(form: Form, operands: Operands) -> Array:
    zs = plus(operands.zs, operands.b)
    return pad(form, zs.reshape(form.steps, form.count, form.gates, form.units), rows=1)


def _theta(form: Form, operands: Operands) -> list[Array]:
    return [pad(form, leaf) for leaf in jax.tree.leaves(widened(operands.theta))]


def _rows(form: Form, x: Array, leading: int) -> Array:
    return pad(form, x.reshape(*x.shape[:leading], form.count, form.units), rows=leading)


def _carry(form: Form, tree: Any, leading: int = 0) -> list[Array]:
    """Leaves ``[*B, H]``, or with ``leading`` axes before, with one padded axis of rows."""
    return [_rows(form, leaf, leading) for leaf in jax.tree.leaves(tree)]


def _steps(form: Form, operands: Operands) -> Steps:
    def fit(flags: Array | None, dtype: Any) -> Array | None:
        if flags is None:
            return None
        flags = flags.reshape(form.steps, form.count).astype(dtype)
        return jnp.pad(flags, ((0, 0), (0, form.batch - flags.shape[1])))

    mask, factor, resets = operands.steps
    return Steps(fit(mask, jnp.int32), fit(resets, jnp.int32), fit(factor, jnp.float32))


KERNELS = Loops(_forward, _backward)
