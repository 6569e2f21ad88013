"""Zoneout against a loop over steps, with the noise read off the carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from tests.cases import KEY, SIZE, Case, assert_close, outcome, quick_jit, raw_outcome

pytestmark = pytest.mark.usefixtures("x64")
ANY: Any = r  # for calls that the types already forbid

CELLS = {
    "elman": r.elman(3),
    "gru-after": r.gru(3),
    "gru-before": r.gru(3, reset="before"),
    "lstm": r.lstm(3, forget_bias=1.0),
}
every_cell = pytest.mark.parametrize("name", CELLS)
T, ROWS = 6, (4,)


@dataclass(frozen=True)
class ByHand:
    """``keep · old + (1 - keep) · new`` after every step; factors [T, B, H] for each leaf."""

    cell: Any
    factors: Any
    reverse: bool = False

    def apply(self, params: Any, carry: Any, xs: Any, **_: Any) -> Any:
        zs: Any = self.cell.project(params, xs)
        ys: list[Any] = [None] * len(xs)
        for t in range(len(xs))[:: -1 if self.reverse else 1]:
            new, _ = self.cell.step(params, carry, zs[t])
            keep = jax.tree.unflatten(jax.tree.structure(new), [f[t] for f in self.factors])
            carry = jax.tree.map(lambda k, a, b: k * a + (1 - k) * b, keep, carry, new)
            ys[t] = jax.tree.leaves(carry)[0]
        return carry, jnp.stack(ys)


def drawn(cell: Any, layer: Any, params: Any, carry: Any, xs: Any) -> Any:
    """The factors 0 or 1 that ``layer`` drew: each unit holds its old or its new value."""
    carries, _ = r.all_carries(layer, params, carry, xs, key=KEY)
    old = jax.tree.map(lambda c, cs: jnp.concatenate([c[None], cs[:-1]]), carry, carries)
    new, _ = jax.vmap(cell.step, (None, 0, 0))(params, old, cell.project(params, xs))
    factors = []
    for a, b, c in zip(*map(jax.tree.leaves, (old, new, carries)), strict=True):
        kept = np.asarray(a == c)
        np.testing.assert_allclose(c, np.where(kept, a, b), rtol=1e-12)
        factors.append(jnp.asarray(kept, float))
    return factors


def by_hand(member: Any, params: Any, carry: Any, xs: Any) -> Any:
    return quick_jit(lambda _, *args: raw_outcome(member, *args))(None, params, carry, xs)


@every_cell
def test_every_unit_keeps_its_value_or_takes_the_new_one(name: str) -> None:
    cell = CELLS[name]
    layer = r.zoneout(cell, 0.3)
    case = Case(name, layer, ids=False)
    params, xs = case.init(), case.inputs(T, ROWS)
    carry = case.carry(ROWS, params)
    expected = by_hand(ByHand(cell, drawn(cell, layer, params, carry, xs)), params, carry, xs)
    for backend in ("auto", "scan"):
        member = r.zoneout(cell, 0.3, backend=backend)
        assert_close(outcome(member, params, carry, xs, None, KEY), expected)


@pytest.mark.parametrize("reverse", [False, True])
@every_cell
def test_inference_takes_the_expectation(name: str, reverse: bool) -> None:
    cell = CELLS[name]
    case = Case(name, r.recurrent(cell), ids=True)
    params, xs = case.init(), case.inputs(T, ROWS)
    carry = case.carry(ROWS, params)
    rates = (0.2, 0.7) if name == "lstm" else (0.2,)
    factors = [jnp.full((T, *ROWS, 3), rate) for rate in rates]
    options: Any = {"cell_rate": 0.7} if name == "lstm" else {}
    member = r.zoneout(cell, 0.2, reverse=reverse, **options)
    expected = by_hand(ByHand(cell, factors, reverse), params, carry, xs)
    assert_close(outcome(member, params, carry, xs), expected)


def test_each_state_has_its_rate_and_each_step_row_and_unit_its_draw() -> None:
    cell = r.lstm(40)
    layer = r.zoneout(cell, 0.1, cell_rate=0.5)
    params, xs = layer.init(KEY, SIZE), jnp.ones((10, 8, SIZE))
    carry = jax.tree.map(lambda c: c + 0.5, layer.initial_carry((8,), params))
    h, c = drawn(cell, layer, params, carry, xs)
    # 3200 draws each: deviations 0.005 and 0.009.
    assert abs(float(h.mean()) - 0.1) < 0.025 and abs(float(c.mean()) - 0.5) < 0.045
    assert len(np.unique(c.reshape(80, 40), axis=0)) == 80
    both = float((h * c).mean())
    assert abs(both - 0.05) < 0.025  # drawn apart
    h_only, c_only = drawn(cell, r.zoneout(cell, 0.0, cell_rate=0.5), params, carry, xs)
    assert not h_only.any() and c_only.any()


def test_a_reversed_layer_draws_by_position() -> None:
    layer = r.zoneout(r.elman(3), 0.5, reverse=True)
    params, xs = layer.init(KEY, SIZE), jnp.ones((5, 2, SIZE))
    _, whole = layer.apply(params, None, xs, key=KEY)
    carry, late = layer.apply(params, None, xs[2:], key=KEY, start=2)
    _, early = layer.apply(params, carry, xs[:2], key=KEY)
    assert_close(jnp.concatenate([early, late]), whole)


@dataclass(frozen=True)
class Doubling(r.PointwiseCell):
    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        h = jnp.tanh(z[0] + r[0])
        return h, 2 * h


@pytest.mark.parametrize(
    "make, message",
    (
        (lambda: r.zoneout(r.elman(3), 1.0), r"zoneout rate must lie in \[0, 1\), not 1\.0"),
        (lambda: r.zoneout(r.lstm(3), 0.1, cell_rate=-1), "zoneout cell_rate must lie in"),
        (lambda: r.zoneout(r.gru(3), 0.1, cell_rate=0.1), "has no cell state: leave cell_rate"),
        (lambda: r.zoneout(Doubling(3), 0.1), "the state that it feeds back, such as .*Doubling"),
        (lambda: r.zoneout(ANY.recurrent(r.elman(3)), 0.1), "recurrent.. takes a cell"),
    ),
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
