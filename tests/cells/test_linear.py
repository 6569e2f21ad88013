"""Linear recurrences: both forms against a plain scan, and the cells by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

import rnn_jax as r
from rnn_jax.recurrence import linear
from rnn_jax.recurrence.gradient_scale import scale_gradient
from tests.cases import CELLS, Case, assert_close, carry_loss, outputs_loss, quick_jit
from tests.cells.test_cells import B, D, H, T, draw, run, sigmoid

pytestmark = pytest.mark.usefixtures("x64")


def plain_scan(
    a: Any, b: Any, carry: Any, *, gradient_scale: Any = None, reverse: bool = False
) -> Any:
    """The definition, one step after the other, gated by stop_gradient."""

    def body(c: Any, step: Any) -> Any:
        a, b, g = step
        c = a * (c if g is None else scale_gradient(c, g)) + b
        return c, c

    a = jnp.broadcast_to(a, b.shape)
    return lax.scan(body, carry, (a, b, gradient_scale), reverse=reverse)[1]


def arguments(T: int, shape: tuple[int, ...], kind: str, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Any:
        real = rng.normal(size=shape)
        return jnp.asarray(real + 1j * rng.normal(size=shape) if kind == "complex" else real)

    same_for_rows = (T, *(1 for _ in shape[:-1]), shape[-1])
    a = normal(*same_for_rows) if kind == "shared" else normal(T, *shape)
    return a, normal(T, *shape), normal(*shape)


@pytest.fixture(params=sorted(linear.FORMS))
def every_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The form of each platform, on this one."""
    jax.clear_caches()  # what is compiled has chosen
    monkeypatch.setitem(linear.FORMS, "cpu", linear.FORMS[request.param])
    yield
    jax.clear_caches()


@quick_jit
def derivatives(static: Any, args: Any, gate: Any) -> Any:
    """Values, gradients, and gradients of a sum of the gradients."""
    scan, reverse = static

    def loss(args: Any) -> Any:
        states = scan(*args, gradient_scale=gate, reverse=reverse)
        return carry_loss(states[..., None] ** 2) + carry_loss(jnp.swapaxes(states, 0, -1)), states

    def sum_of_gradients(args: Any) -> Any:
        gradients, states = jax.grad(loss, has_aux=True)(args)
        return carry_loss(gradients), (gradients, states)

    return jax.grad(sum_of_gradients, has_aux=True)(args)


@pytest.mark.usefixtures("every_form")
@pytest.mark.parametrize(
    "T, shape, kind, gated",
    [
        (0, (3,), "complex", True),
        (0, (2, 3, 2), "shared", False),
        (1, (3,), "shared", False),
        (1, (2, 3, 2), "real", True),
        (6, (3,), "complex", False),
        (6, (3,), "real", True),
        (6, (2, 3, 2), "complex", True),
        (5, (2, 3, 2), "shared", True),
    ],
    ids=str,
)
def test_linear_scan(T: int, shape: tuple[int, ...], kind: str, gated: bool) -> None:
    args = arguments(T, shape, kind)
    gates = jnp.asarray(np.random.default_rng(9).choice([0.0, 0.5, 1.0, 2.0], (T, *shape[:-1])))
    gate, reverse = (gates, True) if gated else (None, False)
    expected = derivatives((plain_scan, reverse), args, gate)
    assert_close(derivatives((r.linear_scan, reverse), args, gate), expected)


@pytest.mark.usefixtures("every_form")
def test_gates_are_constants_to_first_order_and_not_to_second() -> None:
    args = arguments(4, (2, 2), "real")
    gate = jnp.full((4, 2), 0.7)

    @quick_jit
    def orders(scan: Any, gate: Any) -> Any:
        total = lambda args, gate: (scan(*args, gradient_scale=gate) ** 2).sum()  # noqa: E731
        first = jax.grad(total, 1)(args, gate)
        return first, jax.grad(lambda gate: carry_loss(jax.grad(total)(args, gate)))(gate)

    first, second = orders(plain_scan, gate)
    assert not first.any() and second.any()
    assert_close(orders(r.linear_scan, gate), (first, second))


def test_linear_scan_against_differences() -> None:
    check_grads(r.linear_scan, arguments(3, (2,), "real"), order=2, modes=["rev"])


@pytest.mark.usefixtures("every_form")
def test_linear_scan_under_vmap_and_jit() -> None:
    batches = [arguments(5, (2, 3), "complex", seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *batches)
    mapped = jax.jit(jax.vmap(r.linear_scan, (1, 1, 1), 1))
    assert_close(mapped(*stacked), jnp.stack([plain_scan(*args) for args in batches], 1))


@pytest.mark.usefixtures("every_form")
def test_no_step_where_jit_is_disabled() -> None:
    a, b, carry = arguments(3, (2,), "real")
    with jax.disable_jit():
        assert r.linear_scan(a[:0], b[:0], carry).shape == (0, 2)


def test_second_derivatives_outside_jit_are_compiled_once() -> None:
    a, b, carry = arguments(5, (2,), "real")

    def second(a: Any) -> Any:
        total = lambda a: (r.linear_scan(a, b, carry) ** 2).sum()  # noqa: E731
        return jax.grad(lambda a: (jax.grad(total)(a) ** 2).sum())(a)

    first, seen = second(a), []

    def monitor(event: str, duration_secs: float, **_: str | int) -> None:
        seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(monitor)
    try:
        assert_close(second(a), first)
    finally:
        jax.monitoring.unregister_event_duration_listener(monitor)
    assert not [event for event in seen if "backend_compile" in event]


def test_linear_scan_says_what_does_not_fit() -> None:
    a, b, carry = arguments(3, (2, 2), "real")
    for bad in ((a[:2], b, carry), (a[0], b, carry), (a, b, carry[0])):
        with pytest.raises(ValueError, match="do not fit"):
            r.linear_scan(*bad)
    with pytest.raises(ValueError, match="gradient_scale has shape"):
        r.linear_scan(a, b, carry, gradient_scale=jnp.ones((3, 1)))


# Law 7, for cells of the linear form.

LINEAR = {name: cell for name, cell in CELLS.items() if isinstance(cell, r.LinearCell)}


@quick_jit
def unrolled(static: Any, params: Any, carry: Any, xs: Any, options: Any) -> Any:
    cell, backend, reverse = static

    def loss(params: Any, carry: Any, xs: Any) -> Any:
        last, ys = r.unroll(cell, params, carry, xs, reverse=reverse, backend=backend, **options)
        values = {"last": last, "ys": ys}
        if not reverse:
            values["all"] = r.unroll_carries(cell, params, carry, xs, backend=backend, **options)
        return outputs_loss(jnp.tanh(ys)) + carry_loss(last), values

    def sum_of_gradients(*args: Any) -> Any:
        gradients, values = jax.grad(loss, (0, 1, 2), has_aux=True)(*args)
        return carry_loss(gradients), (gradients, values)

    return jax.grad(sum_of_gradients, (0, 1, 2), has_aux=True)(params, carry, xs)


EVERYTHING = ("mask", "gradient_scale", "resets")


@pytest.mark.parametrize(
    "name, told, reverse",
    [
        *((name, EVERYTHING, reverse) for name in LINEAR for reverse in (False, True)),
        ("lru", ("resets",), False),
    ],
    ids=str,
)
def test_parallel_equals_plain_scan(name: str, told: tuple[str, ...], reverse: bool) -> None:
    case = Case(name, LINEAR[name], ids=False)
    params, xs, carry = case.init(), case.inputs(7, (3,)), case.carry((3,), case.init())
    rng = np.random.default_rng(3)
    options = {
        "mask": jnp.asarray(rng.random((7, 3)) < 0.7),
        "gradient_scale": jnp.asarray(rng.choice([0.0, 0.5, 2.0], (7, 3))),
        "resets": jnp.asarray(rng.random((7, 3)) < 0.3),
    }
    options = {what: options[what] for what in told}
    expected = unrolled((case.member, "scan", reverse), params, carry, xs, options)
    assert_close(unrolled((case.member, "auto", reverse), params, carry, xs, options), expected)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("T, batch_shape", [(0, (2, 3)), (1, ())], ids=str)
def test_parallel_equals_plain_scan_on_every_shape(
    name: str, T: int, batch_shape: tuple[int, ...]
) -> None:
    case = Case(name, LINEAR[name], ids=False)
    params, xs = case.init(), case.inputs(T, batch_shape)
    args: Any = (params, case.carry(batch_shape, params), xs, {})
    expected = unrolled((case.member, "scan", False), *args)
    assert_close(unrolled((case.member, "auto", False), *args), expected)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_parallel_equals_plain_scan_in_narrow_dtypes(dtype: Any) -> None:
    @quick_jit
    def outputs(static: Any, params: Any, xs: Any) -> Any:
        cell, backend = static
        return r.unroll(cell, params, None, xs, backend=backend)[1].astype(float)

    for name, cell in LINEAR.items():
        case = Case(name, cell, ids=False)
        params = jax.tree.map(lambda p: p.astype(dtype), case.init())
        args = params, case.inputs(9, (2,)).astype(dtype)
        auto, plain = (outputs((cell, backend), *args) for backend in ("auto", "scan"))
        assert_close(auto, plain, rtol=4 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("backend", ["auto", "scan"])
def test_a_reset_stops_nan(backend: Any) -> None:
    """A bad sequence spoils no other one in its row, neither values nor gradients."""

    @quick_jit
    def outcome(cell: Any, params: Any, xs: Any) -> Any:
        def loss(params: Any, xs: Any) -> Any:
            resets = jnp.arange(6) == 3
            ys = r.unroll(cell, params, None, xs, resets=resets, backend=backend)[1]
            return outputs_loss(ys[3:]), ys[3:]

        return jax.grad(loss, (0, 1), has_aux=True)(params, xs)

    for name, cell in LINEAR.items():
        case = Case(name, cell, ids=False)
        xs = case.inputs(6, ())
        (_, good), ys = outcome(cell, case.init(), xs)
        (_, bad), bad_ys = outcome(cell, case.init(), xs.at[1].set(jnp.nan))
        assert_close((bad[3:], bad_ys), (good[3:], ys))


def test_forward_mode_needs_the_plain_scan() -> None:
    cell = r.min_gru(2)
    params = cell.init(jax.random.key(0), 2)
    f = lambda xs, backend: r.unroll(cell, params, None, xs, backend=backend)[1]  # noqa: E731
    xs = jnp.ones((3, 2))
    jax.jvp(partial(f, backend="scan"), (xs,), (xs,))
    with pytest.raises(ValueError, match="pass backend='scan'"):
        jax.jvp(partial(f, backend="auto"), (xs,), (xs,))


# The cells by hand.


@pytest.mark.parametrize("make", [r.min_gru, r.lru])
def test_hessian_equals_that_of_the_plain_scan(make: Any) -> None:
    """Forward mode over reverse mode, with a factor on the carry's gradient, a mask and a reset."""
    cell = make(2)
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (4, 2, 2))
    beside: dict[str, Any] = {
        "mask": r.length_mask(jnp.array([4, 3]), 4),
        "gradient_scale": jnp.linspace(0.2, 1, 8).reshape(4, 2),
        "resets": jnp.zeros((4, 2), bool).at[2, 0].set(True),
    }

    def loss(params: Any, backend: Any) -> Any:
        carry, ys = r.unroll(cell, params, None, xs, backend=backend, **beside)
        return jnp.sum(ys**3) + jnp.sum(jnp.abs(carry) ** 2)

    fast, plain = (
        quick_jit(jax.hessian(partial(loss, backend=b)), ())(params) for b in ("auto", "scan")
    )
    assert_close(fast, plain)


def test_min_gru_by_hand() -> None:
    cell = r.min_gru(H)
    params, h, xs = draw(cell)
    initial, ys = h, []
    for x in xs:
        update, new = np.split(x @ params["w_ih"] + params["b"], 2, axis=-1)
        h = (1 - sigmoid(update)) * h + sigmoid(update) * new
        ys.append(h)
    _, got = run(cell, params, initial, xs)
    np.testing.assert_allclose(got, np.stack(ys), rtol=1e-12)


def test_min_lstm_by_hand() -> None:
    cell = r.min_lstm(H)
    params, h, xs = draw(cell)
    initial, ys = h, []
    for x in xs:
        f, i, new = np.split(x @ params["w_ih"] + params["b"], 3, axis=-1)
        total = sigmoid(f) + sigmoid(i)
        h = sigmoid(f) / total * h + sigmoid(i) / total * new
        ys.append(h)
    _, got = run(cell, params, initial, xs)
    np.testing.assert_allclose(got, np.stack(ys), rtol=1e-12)
    # Gates that both underflow still share out one.
    params = {**params, "b": params["b"] - np.repeat([2000.0, 2000.0, 0], H)}
    assert np.isfinite(run(cell, params, initial, xs)[1]).all()


def log_space(log_a: Any, log_b: Any, log_h: Any) -> Any:
    """The paper's Heinsen scan: exp(A_t + log(h_0 + Σ_{s≤t} b_s / exp A_s)), A = cumsum log a."""
    total = np.cumsum(log_a, axis=0)
    terms = np.concatenate([log_h[None], log_b - total])
    return np.exp(total + np.logaddexp.accumulate(terms, axis=0)[1:])


@pytest.mark.parametrize("make", [r.min_gru, r.min_lstm])
def test_positive_is_the_papers_log_space_form(make: Any) -> None:
    cell = make(H, positive=True)
    params, h, xs = draw(cell)
    h = np.abs(h)
    softplus = lambda u: np.logaddexp(0, u)  # noqa: E731
    *gates, u = np.split(xs @ params["w_ih"] + params["b"], cell.gates, axis=-1)
    log_g = np.where(u >= 0, np.log(np.maximum(u, 0) + 0.5), -softplus(-u))
    if make is r.min_gru:
        log_a, log_i = -softplus(gates[0]), -softplus(-gates[0])
    else:
        difference = softplus(-gates[0]) - softplus(-gates[1])
        log_a, log_i = -softplus(difference), -softplus(-difference)
    _, got = run(cell, params, h, xs)
    np.testing.assert_allclose(got, log_space(log_a, log_i + log_g, np.log(h)), rtol=1e-11)


def test_lru_by_hand() -> None:
    cell = r.lru(H, output_size=5)
    params, _, xs = draw(cell)
    c = np.random.default_rng(4).normal(size=(2, B, H)).view(complex).reshape(B, -1)
    c = np.concatenate([c, 1j * c], axis=1)[:, :H]
    initial, ys = c, []
    eigenvalues = np.exp(-np.exp(params["nu_log"]) + 1j * np.exp(params["theta_log"]))
    into = params["w_ih"][:, :H] + 1j * params["w_ih"][:, H : 2 * H]
    out = params["w_hy"][:H] + 1j * params["w_hy"][H:]
    for x in xs:
        c = eigenvalues * c + np.exp(params["gamma_log"]) * (x @ into)
        ys.append((c @ out).real + x @ params["w_ih"][:, 2 * H :])
    carry, got = run(cell, params, initial, xs)
    np.testing.assert_allclose(got, np.stack(ys), rtol=1e-11)
    np.testing.assert_allclose(carry, c, rtol=1e-11)
    assert got.shape == (T, B, 5)


def test_fresh_lru_lies_on_its_ring() -> None:
    cell = r.lru(2000, r_min=0.6, r_max=0.9, max_phase=math.pi / 2)
    params = quick_jit(cell.init, static=1)(jax.random.key(0), D)
    size, phase = np.exp(-np.exp(params["nu_log"])), np.exp(params["theta_log"])
    assert 0.6 <= size.min() < 0.61 and 0.89 < size.max() <= 0.9
    assert (size**2).mean() == pytest.approx((0.6**2 + 0.9**2) / 2, rel=0.02)  # uniform in area
    assert 0 < phase.min() and phase.max() <= math.pi / 2
    assert phase.mean() == pytest.approx(math.pi / 4, rel=0.05)
    np.testing.assert_allclose(np.exp(params["gamma_log"]), np.sqrt(1 - size**2), rtol=1e-9)


def test_learned_carries_are_where_the_sequence_begins() -> None:
    for make in (r.min_gru, r.min_lstm, r.lru):
        cell = make(H, learned_carry=True)
        params, _, _ = draw(cell)
        carry, _ = r.unroll(cell, params, None, jnp.ones((0, B, D)))
        learned = np.asarray(params["carry"])
        expected = learned[:H] + 1j * learned[H:] if make is r.lru else learned
        np.testing.assert_array_equal(carry, np.broadcast_to(expected, (B, H)))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: r.min_gru(0), "hidden_size must be an integer of at least 1"),
        (lambda: r.min_lstm(3, w_ih_init="none"), "w_ih_init must be one of"),
        (lambda: r.lru(3, output_size=0), "output_size must be an integer of at least 1"),
        (lambda: r.lru(3, r_min=0.9, r_max=0.5), "r_min < r_max"),
        (lambda: r.lru(3, max_phase=0), "max_phase must lie in"),
    ],
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
