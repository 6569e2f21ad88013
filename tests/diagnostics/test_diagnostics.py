"""Gradient flow, state Jacobians and gates, compared with single derivatives and NumPy."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.diagnostics import (
    gate_saturation,
    gradient_flow,
    plot_gate_saturation,
    plot_gradient_flow,
    plot_state_jacobians,
    state_jacobians,
)
from tests.cases import CASES, CELLS, MODEL, PLAIN, SIZE, STACK, Case, quick_jit

T, B = 5, 2
KEY = jax.random.key(3)


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def losses(ys: jax.Array) -> jax.Array:
    """A nonlinear loss for each step and row."""
    return jnp.sin(ys * (1 + jnp.arange(ys.shape[-1])).reshape((1,) * (ys.ndim - 1) + (-1,))).sum(
        -1
    )


@quick_jit
def flow_of(
    member: Any, params: Any, carry: Any, xs: Any, mask: Any = None, key: Any = None
) -> Any:
    return gradient_flow(member, params, carry, xs, loss=losses, mask=mask, key=key)


run = quick_jit(lambda member, *args, **options: member.apply(*args, **options))
carries_of = quick_jit(lambda member, *args, **options: r.all_carries(member, *args, **options)[0])


@quick_jit
def pairs(member: Any, params: Any, carry: Any, xs: Any, key: Any = None) -> list[Any]:
    """For each leaf of the carry, the squares ``[T, T, B]`` of ∂L_t/∂c_s for s < t, one by one."""
    after, _ = r.all_carries(member, params, carry, xs, key=key)
    later = jnp.concatenate([xs, xs])

    def square(t: Any, s: Any) -> Any:
        """The sequence from s + 1 on, masked after t, with only the loss of t."""
        rest = jax.lax.dynamic_slice_in_dim(later, s + 1, T)
        mask = jnp.broadcast_to((jnp.arange(T) < t - s)[:, None], (T, B))

        def loss(state: Any) -> Any:
            _, ys = member.apply(params, state, rest, mask=mask, key=key, start=s + 1)
            return jnp.where(jnp.arange(T)[:, None] == t - s - 1, losses(ys), 0).sum()

        gradient = jax.grad(loss)(jax.tree.map(lambda c: c[s], after))
        return [(jnp.abs(leaf) ** 2).sum(-1) for leaf in jax.tree.leaves(gradient)]

    over_states = jax.vmap(square, (None, 0))
    return jax.vmap(over_states, (0, None))(jnp.arange(T), jnp.arange(T))


def by_lag(norms: np.ndarray, own: np.ndarray) -> np.ndarray:
    """``[T, B, K]`` from norms ``[T, T, B]`` of all pairs (t, s) and those of lag 0, ``[T, B]``."""
    flow = np.full((len(own), own.shape[1], len(own)), np.nan)
    for t in range(len(own)):
        flow[t, :, 0] = own[t]
        for k in range(1, t + 1):
            flow[t, :, k] = norms[t, t - k]
    return flow


def start_norms(ys: Any) -> np.ndarray:
    """``[T, B]``: norms of ∂L_t/∂y_t."""
    gradient = np.asarray(jax.grad(lambda ys: losses(ys).sum())(ys))
    return np.sqrt((gradient**2).sum(-1))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "name",
    ["lstm", "lru", "stack-ids-dropout", "zoneout-residual", "remat-embedding-weight-drop"],
)
def test_flow_is_the_gradient_of_every_pair(name: str) -> None:
    case = case_of(name)
    params, xs = case.init(), case.inputs(T, (B,))
    carry = case.carry((B,), params)
    flow = flow_of(case.member, params, carry, xs, key=KEY)
    norms = np.sqrt(sum(pairs(case.member, params, carry, xs, KEY)))
    expected = by_lag(norms, start_norms(run(case.member, params, carry, xs, key=KEY)[1]))
    np.testing.assert_allclose(flow.norms, expected, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(flow.mean, np.nanmean(flow.norms, axis=(0, 1)), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_lags_may_be_chosen() -> None:
    params, xs = PLAIN.init(), PLAIN.inputs(T, (B,))
    some = gradient_flow(PLAIN.member, params, None, xs, loss=losses, lags=jnp.array([4, 1]))
    whole = flow_of(PLAIN.member, params, None, xs)
    assert some.lags.tolist() == [4, 1] and whole.lags.tolist() == list(range(T))
    np.testing.assert_allclose(some.norms, whole.norms[..., [4, 1]], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_lag_zero_of_a_model_is_the_gradient_of_its_hidden_output() -> None:
    params, xs = MODEL.init(), MODEL.inputs(T, (B,))
    flow = flow_of(MODEL.member, params, None, xs)
    _, logits = run(MODEL.member, params, None, xs)
    gradient = jax.grad(lambda ys: losses(ys).sum())(logits) @ params["readout"]["w"].T
    np.testing.assert_allclose(flow.norms[..., 0], jnp.linalg.norm(gradient, axis=-1), rtol=1e-10)


def reaches(kind: r.Truncation, t: int, s: int) -> bool:
    """Whether loss t sends a gradient to the state after step s; s = t is its own output."""
    if isinstance(kind, r.Sliding):
        return t - s <= kind.steps
    if isinstance(kind, r.Chunked):
        return t // kind.window == s // kind.window
    return not isinstance(kind, r.Tail) or s >= T - kind.steps


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "case, kinds",
    [
        (STACK, (r.sliding(0), r.sliding(2), r.chunked(2), r.tail(2), r.full())),
        # Around a whole model, and around its recurrent part.
        (MODEL, (r.tail(2), r.sliding(1))),
    ],
    ids=str,
)
def test_a_truncation_cuts_exactly_what_it_says(
    case: Case, kinds: tuple[r.Truncation, ...]
) -> None:
    params, xs = case.init(), case.inputs(T, (B,))
    whole = flow_of(case.member, params, None, xs).norms
    for kind in kinds:
        flow = flow_of(r.truncate(case.member, kind), params, None, xs).norms
        for t in range(T):
            for k in range(t + 1):
                if reaches(kind, t, t - k):
                    np.testing.assert_allclose(flow[t, :, k], whole[t, :, k], rtol=1e-9)
                else:
                    assert (flow[t, :, k] == 0).all()
            assert np.isnan(flow[t, :, t + 1 :]).all()


@pytest.mark.usefixtures("x64")
def test_a_truncated_part_of_a_stack_is_cut_and_the_rest_is_not() -> None:
    lower, upper = STACK.member.layers
    params, xs = STACK.init(), STACK.inputs(T, (B,))
    carry = STACK.carry((B,), params)
    layer = r.serial(r.truncate(lower, r.sliding(0)), upper)
    flow = flow_of(layer, params, carry, xs)
    _, kept = pairs(STACK.member, params, carry, xs)
    own = start_norms(run(layer, params, carry, xs)[1])
    np.testing.assert_allclose(flow.norms, by_lag(np.sqrt(kept), own), rtol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", [r.chunked(2), r.sliding(1), r.tail(2)], ids=str)
def test_a_masked_row_flows_as_it_does_alone(kind: r.Truncation) -> None:
    lengths = (T, 3, 0)
    params, xs = PLAIN.init(), np.array(PLAIN.inputs(T, (len(lengths),)))
    mask = r.length_mask(jnp.array(lengths), T)
    xs[~np.asarray(mask)] = np.nan
    layer = r.truncate(PLAIN.member, kind)
    flow = flow_of(layer, params, None, jnp.array(xs), mask=mask)
    for row, length in enumerate(lengths):
        alone = flow_of(layer, params, None, jnp.array(xs[:length, row]))
        np.testing.assert_allclose(flow.norms[:length, row, :length], alone.norms, rtol=1e-9)
        assert np.isnan(flow.norms[length:, row]).all()
        assert np.isnan(flow.norms[:, row, length:]).all()
    np.testing.assert_allclose(flow.mean, np.nanmean(flow.norms, axis=(0, 1)), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_holes_in_a_mask_are_no_steps_but_count_as_positions() -> None:
    params, xs = PLAIN.init(), PLAIN.inputs(5, ())
    mask = jnp.array([False, True, True, False, True])
    whole = flow_of(PLAIN.member, params, None, xs[mask]).norms
    # Both cut before the masked step 3, which takes effect at step 4.
    for kind, early in ((r.chunked(3), 1), (r.tail(2), 0)):
        got = flow_of(r.truncate(PLAIN.member, kind), params, None, xs, mask=mask).norms
        expected = np.full((5, 5), np.nan)
        expected[1, 0], expected[2, :2] = early * whole[0, 0], early * whole[1, :2]
        expected[4, [0, 2, 3]] = whole[2, 0], 0, 0
        np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_randomized_reweights_what_it_lets_through() -> None:
    params, xs = PLAIN.init(), PLAIN.inputs(T, (5,))
    layer = r.truncate(PLAIN.member, r.randomized(0.5))
    whole = flow_of(PLAIN.member, params, None, xs).norms
    ratio = flow_of(layer, params, None, xs, key=KEY).norms[2:, :, :3] / whole[2:, :, :3]
    weights = np.array([1.0, 2.0, 4.0])[None, None]
    assert np.all((ratio == 0) | np.isclose(ratio, weights, rtol=1e-9))
    assert 0 < (ratio == 0).mean() < 1
    np.testing.assert_array_equal(flow_of(layer, params, None, xs).norms, whole)


def test_tanh_vanishes_within_its_bound_and_an_open_lstm_does_not() -> None:
    steps, size = 40, 8
    xs = jax.random.normal(jax.random.key(0), (steps, 3, size))
    tanh, lstm = r.recurrent(r.elman(size)), r.recurrent(r.lstm(size, forget_bias=6.0))
    mean = {}
    for layer in (tanh, lstm):
        params = layer.init(jax.random.key(1), size)
        mean[layer], norms = quick_jit(lambda layer, *args: gradient_flow(layer, *args)[1:])(
            layer, params, None, xs
        )
        largest = quick_jit(state_jacobians)(layer, params, None, xs)[:, :, 0]
        for k in (1, 5, 12):
            assert np.all(norms[-1, :, k] <= np.prod(largest[steps - k :], axis=0) * 1.0001)
    np.testing.assert_allclose(mean[tanh][0], 1, rtol=1e-5)
    assert mean[tanh][30] < 1e-5
    assert mean[lstm][30] > 0.3 * mean[lstm][1] > 0


def test_flow_of_one_step_of_none_and_in_any_batch_shape() -> None:
    params = PLAIN.init()
    for length, shape in ((0, (2,)), (1, ()), (2, (2, 3))):
        flow = gradient_flow(PLAIN.member, params, None, PLAIN.inputs(length, shape))
        assert flow.norms.shape == (length, *shape, length) and flow.mean.shape == (length,)
        if length:
            np.testing.assert_allclose(flow.norms[..., 0], 1, rtol=1e-5)


def test_errors_of_the_flow_say_what_is_wrong() -> None:
    params, xs = PLAIN.init(), PLAIN.inputs(T, (B,))
    with pytest.raises(ValueError, match="lag of 5 does not fit"):
        gradient_flow(PLAIN.member, params, None, xs, lags=[T])
    with pytest.raises(ValueError, match="lag must be an integer"):
        gradient_flow(PLAIN.member, params, None, xs, lags=[-1])
    with pytest.raises(ValueError, match="one loss for each step and row"):
        gradient_flow(PLAIN.member, params, None, xs, loss=jnp.sum)
    with pytest.raises(ValueError, match="wrap a cell with recurrent"):
        gradient_flow(r.elman(3), params, None, xs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wrap a cell with recurrent"):
        state_jacobians(r.elman(3), params, None, xs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no carry"):
        gradient_flow(r.dropout(0.5), {}, None, xs)
    with pytest.raises(ValueError, match="not causal"):
        gradient_flow(r.recurrent(r.elman(3), reverse=True), params, None, xs)
    with pytest.raises(ValueError, match="mask has shape"):
        gradient_flow(PLAIN.member, params, None, xs, mask=jnp.ones((1, B), bool))


@pytest.mark.usefixtures("x64")
def test_jacobian_of_a_tanh_step_is_its_formula() -> None:
    params, xs = PLAIN.init(), PLAIN.inputs(T, (B,))
    carry = PLAIN.carry((B,), params)
    mask = r.length_mask(jnp.array([T, 4]), T)
    values = quick_jit(state_jacobians)(PLAIN.member, params, carry, xs, mask=mask)
    _, hs = run(PLAIN.member, params, carry, xs, mask=mask)
    slopes = 1 - hs[..., None] ** 2  # of the rows of W^T
    expected = np.linalg.svd(slopes * params["w_hh"].T[None, None], compute_uv=False)
    np.testing.assert_allclose(values, np.where(mask[..., None], expected, 1), rtol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["lstm", "stack"])
def test_jacobians_of_a_carry_of_several_leaves(name: str) -> None:
    case = case_of(name)
    params, xs = case.init(), case.inputs(3, ())
    first = case.carry((), params)
    values = quick_jit(state_jacobians)(case.member, params, first, xs)
    after = carries_of(case.member, params, first, xs)
    jacobian = quick_jit(
        lambda layer, state, x: jax.jacobian(lambda c: layer.apply(params, c, x)[0])(state)
    )
    for t in range(3):
        state = first if t == 0 else jax.tree.map(lambda c, t=t: c[t - 1], after)
        blocks = jax.tree.leaves(jacobian(case.member, state, xs[t : t + 1]))
        expected = np.linalg.svd(np.block([blocks[:2], blocks[2:]]), compute_uv=False)
        np.testing.assert_allclose(values[t], expected, rtol=1e-8)


@pytest.mark.usefixtures("x64")
def test_jacobian_of_a_complex_carry_and_of_no_steps() -> None:
    case = case_of("lru")
    params, xs = case.init(), case.inputs(T, (B,))
    values = quick_jit(state_jacobians)(case.member, params, None, xs)
    factor = np.exp(
        -np.exp(params["nu_log"])
    )  # |Λ|, once for the real and once for the imaginary part
    expected = np.sort(np.repeat(factor, 2))[::-1]
    np.testing.assert_allclose(values, np.broadcast_to(expected, values.shape), rtol=1e-9)
    assert state_jacobians(PLAIN.member, PLAIN.init(), None, xs[:0]).shape == (0, B, 3)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x)))


def norm(x: Any, gain: Any, bias: Any, cuts: list[int]) -> np.ndarray:
    parts = np.split(np.asarray(x), cuts, axis=-1)
    parts = [
        (p - p.mean(-1, keepdims=True)) / np.sqrt(p.var(-1, keepdims=True) + 1e-5) for p in parts
    ]
    return np.concatenate(parts, -1) * gain + bias


def gates_of_step(name: str, cell: Any, p: Any, carry: Any, x: Any) -> dict[str, np.ndarray]:
    """The gates by the equations of the docstrings, in NumPy."""
    z = x @ p["w_ih"]
    if name == "min-gru":
        return {"z": sigmoid((z + p["b"])[:, :3])}
    if name == "min-lstm":
        f, i = (sigmoid(part) for part in np.split(z + p["b"], 3, axis=-1)[:2])
        return {"f": f / (f + i), "i": i / (f + i)}
    h = carry[0] if isinstance(carry, tuple) else carry
    u = h @ p["w_hh"]
    if name == "gru-layer-norm":
        cuts = [2 * cell.hidden_size]
        sums = norm(z, p["gain_ih"], p["b"], cuts) + norm(u, p["gain_hh"], p["b_hh"], cuts)
    elif name == "lstm-layer-norm":
        sums = norm(z, p["gain_ih"], p["b"], []) + norm(u, p["gain_hh"], p.get("b_hh", 0), [])
    else:
        sums = z + p["b"] + u + p.get("b_hh", 0)
    blocks = np.split(np.asarray(sums), cell.gates, axis=-1)
    if name.startswith("gru"):
        return {"r": sigmoid(blocks[0]), "z": sigmoid(blocks[1])}
    i, f, g, o = blocks
    f = f + cell.forget_bias
    if name == "lstm-peepholes":
        peephole = p["peephole"]
        i, f = i + peephole["i"] * carry[1], f + peephole["f"] * carry[1]
        new = sigmoid(f) * carry[1] + sigmoid(i) * np.tanh(g)
        o = o + peephole["o"] * new
    return {"i": sigmoid(i), "f": sigmoid(f), "o": sigmoid(o)}


GATED = [name for name in CELLS if name.startswith(("lstm", "gru", "min"))]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", GATED)
def test_gates_are_those_of_the_equations(name: str) -> None:
    case = case_of(name)
    cell = case.member.cell
    params, xs = case.init(), 3 * case.inputs(T, (3,))
    carry = case.carry((3,), params)
    mask = r.length_mask(jnp.array([T, 4, 0]), T)
    edges, histogram, low, high = quick_jit(
        lambda cell, *args: gate_saturation(cell, *args, mask=mask, bins=10)[1:]
    )(cell, params, carry, xs)
    after = carries_of(case.member, params, carry, xs, mask=mask)
    p, seen = jax.tree.map(np.asarray, params), []
    for t in range(T):
        state = jax.tree.map(np.asarray, carry)
        if t > 0:
            state = jax.tree.map(lambda c, t=t: c[t - 1], after)
        gates = gates_of_step(name, cell, p, state, np.asarray(xs[t]))
        seen.append(np.stack(list(gates.values()))[:, np.asarray(mask[t])])
    values = np.concatenate(seen, axis=1)  # [G, steps and rows, H]
    assert values.shape[1] == T + 4
    np.testing.assert_allclose(edges, np.arange(11) / 10)
    for row, gate in enumerate(values):
        counts, _ = np.histogram(gate, bins=10, range=(0, 1))
        np.testing.assert_allclose(histogram[row], counts / gate.size)
        np.testing.assert_allclose(low[row], (gate < 0.1).mean(0))
        np.testing.assert_allclose(high[row], (gate > 0.9).mean(0))


def test_gates_of_no_steps_and_of_cells_without_any() -> None:
    cell = r.gru(3)
    params = cell.init(KEY, SIZE)
    for xs, mask in (
        (jnp.ones((0, 2, SIZE)), None),
        (jnp.ones((T, 2, SIZE)), jnp.zeros((T, 2), bool)),
    ):
        saturation = gate_saturation(cell, params, None, xs, mask=mask)
        assert not saturation.histogram.any() and saturation.low.shape == (2, 3)
    with pytest.raises(ValueError, match="such as an LSTM or a GRU"):
        gate_saturation(r.elman(3), params, None, xs)
    with pytest.raises(ValueError, match="to inspect a layer, pass its cell"):
        gate_saturation(r.recurrent(cell), params, None, xs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mask has shape"):
        gate_saturation(cell, params, None, xs, mask=jnp.ones((T, 1), bool))
    with pytest.raises(ValueError, match="bins must be an integer"):
        gate_saturation(cell, params, None, xs, bins=0)


@dataclass(frozen=True)
class Leaky(r.PointwiseCell):
    """A user's own cell, which declares no gates."""

    gates: ClassVar[int] = 2

    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        update = jax.nn.sigmoid(z[0] + r[0])
        h = update * carry + (1 - update) * jnp.tanh(z[1] + r[1])
        return h, h


class Declared(Leaky):
    gate_names: ClassVar[tuple[str, ...]] = ("update",)


def test_a_user_cell_declares_its_gates() -> None:
    params, xs = Leaky(3).init(KEY, SIZE), 3 * jax.random.normal(KEY, (T, B, SIZE))
    with pytest.raises(ValueError, match="takes a cell that declares its gates"):
        gate_saturation(Leaky(3), params, None, xs)
    saturation = gate_saturation(Declared(3), params, None, xs, bins=10)
    _, hs = r.unroll(Declared(3), params, None, xs)
    before = np.concatenate([np.zeros((1, B, 3)), hs[:-1]])
    w_ih, w_hh, b = (np.asarray(params[name]) for name in ("w_ih", "w_hh", "b"))
    gate = sigmoid((np.asarray(xs) @ w_ih + b + before @ w_hh)[..., :3])
    assert saturation.gates == ("update",)
    counts, _ = np.histogram(gate, bins=10, range=(0, 1))
    np.testing.assert_allclose(saturation.histogram[0], counts / gate.size, rtol=1e-6)


def test_plots_show_what_was_measured() -> None:
    layer, cell = r.recurrent(r.lstm(3)), r.lstm(3)
    params, xs = layer.init(KEY, SIZE), jax.random.normal(KEY, (T, B, SIZE))
    flows = {
        str(kind): flow_of(r.truncate(layer, kind), params, None, xs)
        for kind in (r.full(), r.sliding(2))
    }
    whole, short, dot = plot_gradient_flow(flows).axes[0].lines
    assert whole.get_label() == "full" and np.isfinite(whole.get_ydata()).all()
    assert np.isfinite(short.get_ydata()).tolist() == [True] * 3 + [False] * (T - 3)
    assert np.asarray(dot.get_xdata()).tolist() == [2]
    values = quick_jit(state_jacobians)(layer, params, None, xs)
    (axes,) = plot_state_jacobians({"lstm": values}).axes
    line: Any = axes.lines[0]
    np.testing.assert_allclose(line.get_ydata(), np.median(values[:, :, 0], axis=1))
    saturation = gate_saturation(cell, params, None, xs)
    figure = plot_gate_saturation(saturation)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["gate i", "gate f", "gate o"]
    figure.savefig(io.BytesIO(), format="png")
