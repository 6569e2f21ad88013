"""Law 7: the fast recurrence equals the plain scan, in values and derivatives of every order.

1e-10 in float64 as in the laws; second derivatives cancel more, 1e-9.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import rnn_jax as r
from rnn_jax.recurrence import engine, loops, plan, products
from rnn_jax.types import Steps
from tests.cases import CELLS, QUICK, SIZE, Case, assert_close, carry_loss, outputs_loss, quick_jit


@dataclass(frozen=True)
class Mixed(r.PointwiseCell):
    """A user's cell: two leaves in the carry, one gate that is no sum, a parameter a unit."""

    gates = 2

    def init(self, key: Any, input_size: int) -> Any:
        return {**super().init(key, input_size), "rate": jnp.ones(self.hidden_size)}

    def zero_carry(self, batch_shape: tuple[int, ...], dtype: Any) -> Any:
        zeros = partial(jnp.zeros, (*batch_shape, self.hidden_size), dtype)
        return {"fast": zeros(), "slow": zeros()}

    def fed(self, carry: Any) -> Any:
        return carry["fast"]

    def theta(self, params: Any) -> Any:
        return {"rate": params["rate"]}

    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        gate = jax.nn.sigmoid(z[0] + r[0])
        slow = carry["slow"] + theta["rate"] * gate * jnp.sin(z[1] * r[1])
        fast = jnp.exp(-(slow**2)) * carry["fast"] + jax.nn.relu(z[1])
        return {"fast": fast, "slow": slow}, fast * gate


POINTWISE = {
    **{
        name: cell
        for name, cell in CELLS.items()
        # One with a step of its own takes the plain scan.
        if isinstance(cell, r.PointwiseCell) and type(cell).step is r.PointwiseCell.step
    },
    "lstm-learned": r.LSTM(3, learned_carry=True, recurrent_bias=True),
    "mixed": Mixed(3),
}
every_cell = pytest.mark.parametrize("name", POINTWISE)


def case_of(name: str) -> Case:
    return Case(name, r.recurrent(POINTWISE[name]), ids=False)


def extras(kind: str, T: int, batch_shape: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(T)
    shape = (T, *batch_shape)
    options = {
        "mask": jnp.asarray(rng.random(shape) < 0.7),
        "gradient_scale": jnp.asarray(rng.random(shape) * 2),
        "resets": jnp.asarray(rng.random(shape) < 0.4),
    }
    return {} if kind == "plain" else options


def loss(how: Any, params: Any, carry: Any, xs: Any, options: Any) -> Any:
    cell, backend, reverse = how
    carry, ys = r.unroll(cell, params, carry, xs, backend=backend, reverse=reverse, **options)
    return outputs_loss(ys) + carry_loss(carry), (carry, ys)


def first_eager(how: Any, params: Any, carry: Any, xs: Any, options: Any) -> Any:
    return jax.value_and_grad(partial(loss, how), argnums=(0, 1, 2), has_aux=True)(
        params, carry, xs, options
    )


first = quick_jit(first_eager)


@quick_jit
def second(how: Any, params: Any, carry: Any, xs: Any, options: Any) -> Any:
    def norm(*primals: Any) -> Any:
        grads = jax.grad(partial(loss, how), argnums=(0, 1, 2), has_aux=True)
        return sum((g**2).sum() for g in jax.tree.leaves(grads(*primals, options)[0]))

    return jax.grad(norm, argnums=(0, 1, 2))(params, carry, xs)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("reverse", [False, True])
@every_cell
def test_first_derivatives(name: str, reverse: bool) -> None:
    case = case_of(name)
    params = case.init()
    carry, xs, options = case.carry((3,), params), case.inputs(5, (3,)), extras("all", 5, (3,))
    fast, slow = (
        first((POINTWISE[name], backend, reverse), params, carry, xs, options)
        for backend in ("auto", "scan")
    )
    assert_close(fast, slow)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["plain", "all"])
@every_cell
def test_second_derivatives(name: str, kind: str) -> None:
    case = case_of(name)
    params = case.init()
    carry, xs, options = case.carry((2,), params), case.inputs(4, (2,)), extras(kind, 4, (2,))
    fast, slow = (
        second((POINTWISE[name], backend, False), params, carry, xs, options)
        for backend in ("auto", "scan")
    )
    assert_close(fast, slow, rtol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("batch_shape", [(), (1,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("T", [0, 1, 7])
@pytest.mark.parametrize("name", ["gru-after", "mixed"])
def test_every_shape(name: str, T: int, batch_shape: tuple[int, ...]) -> None:
    case = case_of(name)
    params = case.init()
    carry, xs = case.carry(batch_shape, params), case.inputs(T, batch_shape)
    for kind in ("plain", "all"):
        options = extras(kind, T, batch_shape)
        fast, slow = (
            first((POINTWISE[name], backend, False), params, carry, xs, options)
            for backend in ("auto", "scan")
        )
        assert_close(fast, slow)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "backend", "order", "modes"),
    [
        ("elman-tanh", "scan", 2, ["fwd", "rev"]),
        ("gru-after", "scan", 2, ["rev"]),
        ("lstm", "auto", 1, ["rev"]),
        ("mixed", "auto", 1, ["rev"]),
    ],
)
def test_gradients_against_finite_differences(
    name: str, backend: Any, order: int, modes: list[str]
) -> None:
    case = case_of(name)
    params, xs = case.init(), case.inputs(3, ()) + 0.01
    f = jax.jit(lambda p: loss((POINTWISE[name], backend, False), p, None, xs, {})[0])
    check_grads(f, (params,), order=order, modes=modes, rtol=1e-4)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("group", "parts", "ways", "size"),
    [
        (False, 1, "plain", 4),
        (False, 3, "copied", 3),
        (True, 2, "turned", 2),
        (True, 1, "plain", 1),
    ],
)
@pytest.mark.parametrize("name", ["lstm-learned", "mixed"])
def test_all_ways_to_loop(
    name: str, group: bool, parts: int, ways: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes as small as these take one way only.

    Grouped or not, the batch whole or in parts, products plain or by another layout, inputs
    projected some steps at a time.
    """
    case = case_of(name)
    params = case.init()
    carry, xs = case.carry((6,), params), case.inputs(4, (6,))
    monkeypatch.setattr(products, "_STEPS", {"copied": 0, "turned": 0})
    monkeypatch.setattr(products, "_TIMED", jnp.float64)
    monkeypatch.setattr(products, "_TURNED", 0 if ways == "turned" else 2**20)
    made = loops.make_loops(
        group=group,
        parts=lambda operands: parts,
        products=products.PLAIN if ways == "plain" else products.LAID_OUT,
        at_once=lambda operands: size,
    )
    monkeypatch.setitem(engine.LOOPS, "cpu", made)
    for kind, reverse in (("plain", True), ("all", False)):
        options = extras(kind, 4, (6,))
        fast, slow = (
            [
                jax.jit(f, static_argnums=0)(
                    (POINTWISE[name], backend, reverse), params, carry, xs, options
                )
                for f in (first_eager, loss)
            ]
            for backend in ("auto", "scan")
        )
        assert_close(fast, slow)


def test_gradients_outside_jit_are_bound_to_no_device() -> None:
    """So that they go with arrays of other devices, as those of the plain scan do."""
    layer, xs = r.recurrent(r.lstm(5)), jnp.ones((6, 8, 3))
    params = layer.init(jax.random.key(0), 3)
    gradients = jax.grad(lambda params: layer.apply(params, None, xs)[1].sum())(params)
    assert not any(leaf.committed for leaf in jax.tree.leaves(gradients))


def test_large_input_products_are_never_all_held_where_nothing_is_saved() -> None:
    """Of T = 600 they would take 39 MB."""
    cell, xs = r.lstm(128), jax.ShapeDtypeStruct((600, 32, 8), jnp.float32)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 8))
    forward = jax.jit(lambda params, xs: r.unroll(cell, params, None, xs)[1])
    memory: Any = forward.lower(params, xs).compile(QUICK).memory_analysis()
    assert memory.temp_size_in_bytes < 600 * 32 * 4 * 128 * 4 / 4


@pytest.mark.usefixtures("x64")
def test_carries_of_every_step() -> None:
    case = case_of("lstm")
    params = case.init()
    carry, xs, options = case.carry((2,), params), case.inputs(4, (2,)), extras("all", 4, (2,))

    def f(backend: Any, params: Any, carry: Any) -> Any:
        carries, ys = r.unroll_carries(
            POINTWISE["lstm"], params, carry, xs, backend=backend, **options
        )
        return outputs_loss(ys) + sum(outputs_loss(c) for c in carries), (carries, ys)

    fast, slow = (
        jax.grad(partial(f, backend), argnums=(0, 1), has_aux=True)(params, carry)
        for backend in ("auto", "scan")
    )
    assert_close(fast, slow)


@pytest.mark.usefixtures("x64")
def test_under_vmap_checkpoint_and_an_ensemble() -> None:
    case = case_of("gru-after")
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), case.init(0), case.init(5))
    carry = jax.tree.map(lambda c: jnp.stack([c, 2 * c]), case.carry((3,), case.init()))
    xs = case.inputs(4, (3,))

    def grads(backend: Any, wrap: Any) -> Any:
        f = wrap(lambda p, c, xs: loss((POINTWISE["gru-after"], backend, False), p, c, xs, {})[0])
        return jax.jit(jax.vmap(jax.grad(f, argnums=(0, 1, 2)), (0, 0, None)))(params, carry, xs)

    expected = grads("scan", lambda f: f)
    assert_close(grads("auto", lambda f: f), expected)
    assert_close(grads("auto", jax.checkpoint), expected)
    alone = first((POINTWISE["gru-after"], "scan", False), case.init(5), carry[1], xs, {})
    assert_close(jax.tree.map(lambda g: g[1], expected), alone[1])


@pytest.mark.parametrize(
    # Both paths round every product's factors to bfloat16, of 8 bits, but in another order.
    ("dtype", "rtol"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.03)], ids=str
)  # fmt: skip
@every_cell
def test_narrow_dtypes(name: str, dtype: Any, rtol: float) -> None:
    case = case_of(name)
    params = jax.tree.map(lambda p: p.astype(dtype), case.init())
    carry, xs = case.carry((3,), params), case.inputs(5, (3,))
    options = extras("all", 5, (3,))
    fast, slow = (
        first((POINTWISE[name], backend, False), params, carry, xs, options)
        for backend in ("auto", "scan")
    )
    as_float = lambda tree: jax.tree.map(lambda a: np.asarray(a, np.float32), tree)  # noqa: E731
    (_, (carry, ys)), (dparams, _, _) = fast
    assert ys.dtype == dtype and {c.dtype for c in jax.tree.leaves(carry)} == {jnp.dtype("f4")}
    assert {g.dtype for g in jax.tree.leaves(dparams)} == {jnp.dtype(dtype)}
    for a, b in zip(*(jax.tree.leaves(as_float(tree)) for tree in (fast, slow)), strict=True):
        assert np.abs(a - b).max() <= rtol * max(np.abs(b).max(), 1)


def test_state_and_sums_are_float32_beside_bfloat16() -> None:
    """A running sum of 1,000 small terms: in bfloat16 it would stand still at 0.25 · 256."""
    cell = r.lstm(1)
    params = {
        "w_ih": jnp.zeros((1, 4), jnp.bfloat16),
        "w_hh": jnp.zeros((1, 4), jnp.bfloat16),
        "b": jnp.array([40.0, 40.0, 0.25, 0.0], jnp.bfloat16),
    }
    (_, c), _ = r.unroll(cell, params, None, jnp.zeros((1000, 1), jnp.bfloat16))
    assert float(c[0]) == pytest.approx(1000 * np.tanh(0.25), rel=1e-5)


def test_forward_mode_says_what_to_do() -> None:
    cell = r.elman(3)
    params, xs = cell.init(jax.random.key(0), 2), jnp.ones((4, 2))
    with pytest.raises(ValueError, match="pass backend='scan'"):
        jax.jvp(lambda p: r.unroll(cell, p, None, xs)[1], (params,), (params,))
    _, tangent = jax.jvp(
        lambda p: r.unroll(cell, p, None, xs, backend="scan")[1], (params,), (params,)
    )
    assert np.isfinite(tangent).all()
    hessian = jax.hessian(lambda w: r.unroll(cell, {**params, "w_hh": w}, None, xs)[1].sum())
    assert hessian(params["w_hh"]).shape == (3, 3, 3, 3)


def test_unknown_backend() -> None:
    cell = r.elman(3)
    with pytest.raises(ValueError, match="backend must be one of"):
        r.unroll(cell, cell.init(jax.random.key(0), 2), None, jnp.ones((4, 2)), backend="cuda")  # type: ignore[arg-type]


def test_a_step_of_its_own_is_what_runs() -> None:
    class Doubled(r.Elman):
        def step(self, params: Any, carry: Any, z: Any) -> Any:
            carry, y = super().step(params, carry, z)
            return carry, 2 * y

    plain, doubled = r.elman(3), Doubled(3)
    params, xs = plain.init(jax.random.key(0), 2), jnp.ones((4, 2))
    np.testing.assert_allclose(
        r.unroll(doubled, params, None, xs)[1], 2 * r.unroll(plain, params, None, xs)[1]
    )


def test_which_cells_keep_one_cotangent_for_both_products() -> None:
    for name, one in {"lstm": True, "elman-tanh": True, "gru-after": False, "mixed": False}.items():
        cell = POINTWISE[name]
        params = cell.init(jax.random.key(0), SIZE)
        operands = plan.Operands(
            theta=cell.theta(params), w_hh=params["w_hh"], b=None, b_hh=None,
            carry=cell.initial_carry(()), initial=None, zs=jnp.zeros((1, params["w_ih"].shape[1])),
            steps=Steps(),
        )  # fmt: skip
        assert plan.reads_only_sums(cell, operands) == one


def test_a_kernel_can_stand_behind_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def forward(*args: Any) -> Any:
        calls.append("forward")
        return default.forward(*args)

    def backward(*args: Any) -> Any:
        calls.append("backward")
        return default.backward(*args)

    default = engine.LOOPS["default"]
    monkeypatch.setitem(engine.LOOPS, "cpu", plan.Loops(forward, backward))
    cell = r.elman(3)
    params = cell.init(jax.random.key(0), 2)
    jax.grad(lambda p: r.unroll(cell, p, None, jnp.ones((4, 2)))[1].sum())(params)
    assert set(calls) == {"forward", "backward"}


@dataclass(frozen=True)
class Odd(r.PointwiseCell):
    """Feeds no leaf, and counts its steps in one without a gradient."""

    def zero_carry(self, batch_shape: tuple[int, ...], dtype: Any) -> Any:
        shape = (*batch_shape, self.hidden_size)
        return jnp.zeros(shape, dtype), jnp.zeros(shape, int)

    def fed(self, carry: Any) -> Any:
        return carry[0]

    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        h = 0.5 * carry[0] + z[0] + r[0] / (1 + carry[1])
        return (h, carry[1] + 1), h


@dataclass(frozen=True)
class Squashed(r.PointwiseCell):
    """Feeds no leaf of the carry, but a function of it."""

    def fed(self, carry: Any) -> Any:
        return jnp.tanh(carry)

    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        h = 0.5 * carry + z[0] + r[0]
        return h, h


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("cell", [Odd(3), Squashed(3)], ids=lambda cell: type(cell).__name__)
def test_what_is_not_of_the_form_takes_the_plain_scan(cell: Any) -> None:
    params, xs = cell.init(jax.random.key(0), 4), jnp.ones((6, 2, 4)) / 3

    def loss(backend: Any, params: Any) -> Any:
        return (r.unroll(cell, params, None, xs, backend=backend)[1] ** 2).sum()

    fast, slow = (jax.grad(partial(loss, backend))(params) for backend in ("auto", "scan"))
    assert_close(fast, slow)


OTHERS = [
    (r.gru(4), r.lstm(4)),
    (r.elman(4), r.gru(4)),
    (r.lstm(4), r.elman(4)),
    (r.elman(5), r.elman(4)),
]


@pytest.mark.parametrize("backend", ["auto", "scan"])
@pytest.mark.parametrize(("cell", "other"), OTHERS, ids=["gru", "elman", "lstm", "size"])
def test_parameters_of_another_cell_are_refused(backend: Any, cell: Any, other: Any) -> None:
    params = other.init(jax.random.key(0), 3)
    with pytest.raises(ValueError, match="pass those that its init gives"):
        r.unroll(cell, params, None, jnp.ones((2, 1, 3)), backend=backend)


def test_numpy_arrays_of_any_width_are_taken_as_they_are() -> None:
    cell = r.gru(3)
    shape = (4, 2)
    params = cell.init(jax.random.key(0), 2)
    xs: Any = np.ones((*shape, 2))
    steps: Any = {
        "mask": np.ones(shape, bool),
        "gradient_scale": np.ones(shape),
        "resets": np.zeros(shape, bool),
    }
    carry, _ = r.unroll(cell, params, None, xs, **steps)
    np.testing.assert_allclose(carry, r.unroll(cell, params, None, xs)[0], rtol=1e-6)
