"""Cells, sequences and losses that kernels are tried on, in float32 unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax as r
from rnn_jax.recurrence import Kernel
from tests.cases import Case, carry_loss, outputs_loss, quick_jit
from tests.recurrence.test_engine import POINTWISE

CELLS = {
    **POINTWISE,
    # Several numbers a thread, and sizes that fill no whole warp.
    "elman-wide": r.elman(130),
    "gru-odd": r.gru(33),
    "elman-softplus": r.elman(3, activation=jax.nn.softplus),
}

DEFAULT = Kernel()


@dataclass(frozen=True)
class Try:
    """One cell over one sequence, and the kernel's settings.

    all: whether there are a mask, resets and factors on gradients.
    """

    name: str
    T: int
    batch: tuple[int, ...]
    kernel: Kernel = DEFAULT
    reverse: bool = False
    every: bool = False
    all: bool = False
    dtype: Any = jnp.float32

    def __str__(self) -> str:
        flags = [flag for flag in ("reverse", "every", "all") if getattr(self, flag)]
        return "-".join([self.name, str(self.T), "x".join(map(str, self.batch)), *flags])

    def arguments(self) -> tuple[Any, ...]:
        """Parameters, carry, inputs, and what travels beside them."""
        case = Case(self.name, r.recurrent(CELLS[self.name]), ids=False)
        params = jax.tree.map(lambda p: p.astype(self.dtype), case.init())
        if self.name in ("elman-wide", "gru-odd"):  # so that the state neither dies nor explodes
            params = {**params, "w_hh": params["w_hh"] / 8}
        carry = case.carry(self.batch, params)
        rng, shape = np.random.default_rng(self.T), (self.T, *self.batch)
        beside = {
            "mask": jnp.asarray(rng.random(shape) < 0.7),
            "gradient_scale": jnp.asarray(rng.random(shape) * 2, jnp.float32),
            "resets": jnp.asarray(rng.random(shape) < 0.4),
        }
        xs = case.inputs(self.T, self.batch).astype(self.dtype)
        return params, carry, xs, beside if self.all else {}

    def by(self, backend: Any) -> tuple[Any, ...]:
        """Values, and gradients of all that has one, by a backend; every step has its weight."""
        return first((self.name, self.reverse, self.every, backend), *self.arguments())

    def interpreted(self) -> tuple[Any, ...]:
        """By the kernel, on the host."""
        return self.by(replace(self.kernel, interpret=True))


def first_of(how: Any, params: Any, carry: Any, xs: Any, beside: Any) -> Any:
    """``value_and_grad`` of a loss of all results; ``how`` is static."""
    name, reverse, every, backend = how

    def loss(params: Any, carry: Any, xs: Any) -> Any:
        along = {**beside, "backend": backend}
        if every:
            carry, ys = r.unroll_carries(CELLS[name], params, carry, xs, **along)
            lost = sum(outputs_loss(c, start=i) for i, c in enumerate(jax.tree.leaves(carry)))
        else:
            carry, ys = r.unroll(CELLS[name], params, carry, xs, reverse=reverse, **along)
            lost = carry_loss(carry)
        return lost + outputs_loss(ys.astype(jnp.float32)), (carry, ys)

    return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, carry, xs)


first = quick_jit(first_of)

TRIES = (
    Try("elman-tanh", 7, (3,), Kernel(rows=1, unroll=2)),
    Try("elman-relu-no-bias", 1, (), Kernel(resident=False)),
    Try("elman-wide", 2, (1,), Kernel(rows=1)),
    Try("gru-odd", 2, (2,), Kernel(rows=2, ahead=False), reverse=True),
    Try("gru-after", 5, (3,), Kernel(rows=2), all=True),
    Try("elman-softplus", 3, (2,)),
    Try("lstm", 2, (1,), Kernel(ahead=False), reverse=True),
    Try("lstm", 7, (3,), Kernel(rows=2, resident=False), all=True, every=True),
    Try("lstm-learned", 2, (5,), Kernel(rows=4), reverse=True, all=True),
    Try("lstm-peepholes", 2, (5,), Kernel(rows=2, unroll=1), all=True),
    Try("mixed", 7, (2, 3), Kernel(rows=2), every=True),
    Try("mixed", 7, (3,), Kernel(rows=1, ahead=False), reverse=True, all=True),
    Try("mixed", 2, (0,)),
)
NARROW = tuple(
    Try(name, 3, (3,), Kernel(rows=2), all=True, dtype=jnp.bfloat16)
    for name in ("elman-tanh", "lstm-peepholes", "mixed")
)
