"""The recurrence: a cell run along time by ``lax.scan``."""

from __future__ import annotations

from functools import partial
from typing import Any, Never, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.arrays.masking import fill_masked, select
from rnn_jax.arrays.products import narrow_like, widened
from rnn_jax.arrays.tokens import as_index, is_ids
from rnn_jax.cells import Form, LinearCell, PointwiseCell, form_of
from rnn_jax.cells.memory import named
from rnn_jax.host.checks import check_renamed
from rnn_jax.jaxprs import in_auto_mode, reverse_mode_only, scan, vary_over, varying_axes
from rnn_jax.recurrence.backend import Backend, kernel_of
from rnn_jax.recurrence.gpu.settings import Kernel
from rnn_jax.recurrence.gradient_scale import scale_gradient, settled
from rnn_jax.recurrence.layouts import batch_shape_of, checked_steps, layouts_of
from rnn_jax.recurrence.linear import unroll_linear
from rnn_jax.recurrence.pointwise import is_fast, unroll_pointwise
from rnn_jax.types import Array, Carry, Cell, Params, Steps

__all__ = [
    "SLIDING_REVERSE_ONLY",
    "Backend",
    "batch_shape_of",
    "can_sweep",
    "run",
    "unroll",
    "unroll_carries",
]


def unroll(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    *,
    mask: Array | None = None,
    gradient_scale: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    backend: Backend = "auto",
    **renamed: Never,
) -> tuple[Carry, Array]:
    """Run a cell along a sequence.

    ``c_t, y_t = step(params, c_{t-1}, z_t)`` for ``t = 0 … T-1``, with ``z = project(params, xs)``
    computed for all steps at once.

    Args:
      cell: a `Cell`.
      params: its parameters.
      carry: ``c_{-1}``, or None for the cell's initial carry.
      xs: ``float[T, B, D]`` or ``int[T, B]``; ``T`` may be 0, the batch shape may be ``()``.
      mask: ``bool[T, B]``; where False the carry is held, the output is zero, and the input is
        not read.
      gradient_scale: ``float[T, B]``, the factor on the gradient of the carry before each step; no
        value depends on it. That of a masked step takes effect at the next valid step.
      resets: ``bool[T, B]``, True on the first step of a new sequence: the carry before it is the
        cell's initial one. A reset on a masked step takes effect at the next valid step.
      reverse: run from the last step to the first; outputs stay in place. With a mask of right
        padding this is the reversed sequence; nothing need be flipped. ``resets`` still mark first
        steps: the carry is reset after them.
      backend: "auto" for the fastest form that the cell has; "scan" for the plain scan, which
        ``jvp`` and ``jacfwd`` need; "pallas" for one kernel that takes all steps on an NVIDIA GPU,
        of a cell of the pointwise form (`elman`, `lstm`, `gru`, your own): not timed on any device
        so far, so "auto" takes it nowhere. A `Kernel` is "pallas" with settings.

    Returns:
      The carry after the last step and the outputs ``float[T, B, H]``.

    Raises:
      ValueError: inputs, carry, mask, gradient_scale or resets whose shapes do not fit; a token id
        that selects no row (under jit its step is NaN instead); an unknown backend; with "pallas"
        a platform, cell, dtype or size that the kernel does not take.
      TypeError: an unknown keyword.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> cell = rnn_jax.elman(3)
      >>> params = cell.init(jax.random.key(0), 10)
      >>> carry, ys = unroll(cell, params, None, jnp.array([1, 4, 9]))
      >>> bool((carry == ys[-1]).all())
      True
    """
    check_renamed("unroll", renamed)
    steps = Steps(mask, gradient_scale, resets)
    return run(cell, params, carry, xs, steps, reverse=reverse, every=False, backend=backend)


def unroll_carries(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    *,
    mask: Array | None = None,
    gradient_scale: Array | None = None,
    resets: Array | None = None,
    backend: Backend = "auto",
    **renamed: Never,
) -> tuple[Carry, Array]:
    """As `unroll`, but the first result holds the carry after every step, ``[T, B, …]``.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> cell = rnn_jax.elman(3)
      >>> params = cell.init(jax.random.key(0), 10)
      >>> carries, ys = unroll_carries(cell, params, None, jnp.array([1, 4, 9]))
      >>> carries.shape
      (3, 3)
    """
    check_renamed("unroll_carries", renamed)
    steps = Steps(mask, gradient_scale, resets)
    return run(cell, params, carry, xs, steps, reverse=False, every=True, backend=backend)


def run(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    steps: Steps,
    *,
    reverse: bool,
    every: bool,
    backend: Backend,
    lags: int | None = None,
) -> tuple[Carry, Array]:
    """What `unroll` (``every=False``) and `unroll_carries` (``every=True``) have in common.

    With ``lags``, for a cell that `can_sweep`, a loss reaches so many steps back, and no further.
    """
    steps = checked_steps(xs, steps)
    along_time = partial(_run, cell, reverse=reverse, every=every, backend=backend, lags=lags)
    layouts = layouts_of(carry, xs, every=every)
    result: tuple[Carry, Array] = in_auto_mode(along_time, (params, carry, xs, steps), layouts)
    return result


def _run(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    steps: Steps,
    *,
    reverse: bool,
    every: bool,
    backend: Backend,
    lags: int | None,
) -> tuple[Carry, Array]:
    batch_shape = batch_shape_of(xs)
    if carry is None:
        carry = cell.initial_carry(batch_shape, params)
    containers = jax.tree.structure(carry)  # a plain pair comes back as one
    carry = _fitting_carry(cell, params, carry, batch_shape)
    steps = settled(steps, reverse=reverse)
    xs = fill_masked(as_index(xs) if is_ids(xs) else xs, steps.mask)
    forward = _form(cell, backend, lags)
    last, carries, ys = forward(cell, params, carry, xs, steps, reverse=reverse, every=every)
    return jax.tree.unflatten(containers, jax.tree.leaves(carries if every else last)), ys


class _Forward(Protocol):
    """One way to compute the carry after the last step, those after every step, and the outputs.

    The inputs are filled where masked, the steps are settled; ``carries`` may be None unless
    ``every``.
    """

    def __call__(
        self,
        cell: Any,
        params: Params,
        carry: Carry,
        xs: Array,
        steps: Steps,
        *,
        reverse: bool,
        every: bool,
    ) -> tuple[Carry, Carry, Array]: ...


def _form(cell: Cell, backend: Backend, lags: int | None) -> _Forward:
    kernel = kernel_of(backend)
    if kernel is not None:
        if form_of(cell) != "pointwise":
            raise ValueError(
                f"backend='pallas' runs cells of the pointwise form, and {type(cell).__name__} is "
                "not one: pass backend='auto'"
            )
        return partial(_pointwise, lags=lags, kernel=kernel)
    if lags is not None:
        return partial(_pointwise, lags=lags)
    return _FORMS[form_of(cell) if backend == "auto" else "plain"]


_REVERSE_ONLY = (
    "the fast recurrence has derivatives in reverse mode only: for jvp, jacfwd and linearize pass "
    "backend='scan'"
)

SLIDING_REVERSE_ONLY = (
    "sliding() by lagged pull-backs has derivatives in reverse mode only: for jvp, jacfwd and "
    "linearize pass truncate(…, reference=True), and backend='scan' to recurrent()"
)


def _pointwise(
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
) -> tuple[Carry, Carry, Array]:
    """All steps by the fast recurrence; see `rnn_jax.recurrence.pointwise`."""
    if not is_fast(cell, carry, xs.shape[0]):
        if kernel is not None and xs.shape[0] != 0:
            raise ValueError(
                "backend='pallas' needs jit, and a cell that feeds back a leaf of its carry, all "
                f"of it differentiable, which {type(cell).__name__} here is not: pass "
                "backend='auto'"
            )
        return _scan(cell, params, carry, xs, steps, reverse=reverse, every=every)
    how: Any = {"reverse": reverse, "every": every, "lags": lags, "kernel": kernel}
    with reverse_mode_only(_REVERSE_ONLY if lags is None else SLIDING_REVERSE_ONLY):
        return unroll_pointwise(cell, params, carry, xs, steps, **how)


def can_sweep(cell: Cell, carry: Carry, xs: Array, backend: Backend) -> bool:
    """Whether `run` takes ``lags``: the fast recurrence runs the cell."""
    return (
        backend != "scan"
        and form_of(cell) == "pointwise"
        and is_fast(cast(PointwiseCell, cell), carry, xs.shape[0])
    )


def _linear(
    cell: LinearCell,
    params: Params,
    carry: Carry,
    xs: Array,
    steps: Steps,
    *,
    reverse: bool,
    every: bool,
) -> tuple[Carry, Carry, Array]:
    """All steps of a linear cell at once; see `rnn_jax.recurrence.linear`."""
    if not isinstance(xs.shape[0], int):  # exported for any T: the tree's depth is not known
        return _scan(cell, params, carry, xs, steps, reverse=reverse, every=every)
    with reverse_mode_only(_REVERSE_ONLY):
        zs = cell.project(params, xs)
        return unroll_linear(cell, params, carry, zs, steps, reverse=reverse)


def _scan(
    cell: Cell, params: Params, carry: Carry, xs: Array, steps: Steps, *, reverse: bool, every: bool
) -> tuple[Carry, Carry, Array]:
    """The plain scan: for cells of any form, and the reference for every faster one."""

    def body(carry: Carry, inputs: tuple[Any, Steps]) -> Any:
        z, (valid, factor, reset) = inputs
        before = carry if factor is None else scale_gradient(carry, factor)
        if reset is not None:
            before = select(reset, cell.initial_carry(reset.shape, params), before)
        new, y = cell.step(narrow_like(wide, params), before, z)
        new = named(new, carry)
        if valid is not None:
            new, y = select(valid, new, carry), select(valid, y, jnp.zeros_like(y))
        new = vary_over(axes, new)
        return new, (new if every else None, y)

    zs, wide = cell.project(params, xs), widened(params)
    axes = varying_axes(params, carry, zs, steps)
    carry, (carries, ys) = scan(body, vary_over(axes, carry), (zs, steps), reverse=reverse)
    return carry, carries, ys


_FORMS: dict[Form, _Forward] = {"plain": _scan, "pointwise": _pointwise, "linear": _linear}


def _fitting_carry(cell: Cell, params: Params, carry: Carry, batch_shape: tuple[int, ...]) -> Carry:
    """``carry`` in the dtype of the state, or an error where its shapes do not fit."""
    like = jax.eval_shape(lambda params: cell.initial_carry(batch_shape, params), params)
    given, needed = (jax.tree.map(np.shape, tree) for tree in (carry, like))
    if given != needed:  # a plain pair equals an `LSTMCarry`
        raise ValueError(
            f"the carry has shape {given}, but inputs of batch shape {batch_shape} need {needed}: "
            "pass initial_carry(batch_shape) or None"
        )
    leaves, (states, tree) = jax.tree.leaves(carry), jax.tree.flatten(like)
    for leaf, state in zip(leaves, states, strict=True):
        if jnp.iscomplexobj(leaf) and not jnp.issubdtype(state.dtype, jnp.complexfloating):
            raise ValueError(
                f"the carry is {leaf.dtype}, but that of {type(cell).__name__} is real: pass "
                "initial_carry(batch_shape) or None"
            )
    fitting = (jnp.asarray(c, state.dtype) for c, state in zip(leaves, states, strict=True))
    return jax.tree.unflatten(tree, fitting)
