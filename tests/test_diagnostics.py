"""Gradient flow, state Jacobians and gates against one derivative at a time and NumPy."""

from __future__ import annotations

from typing import Any

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
from tests.cases import CASES, CELLS, SIZE, Case

T, B, K = 7, 2, 3
KEY = jax.random.key(3)
PLAIN, STACK, MODEL = (
    next(case for case in CASES if case.name == name)
    for name in ("elman-tanh", "stack", "lm-embedding-dropout")
)
MEMBERS = [
    case
    for case in CASES
    if case.name
    in {
        "lstm",
        "gru-before",
        "lru",
        "stack-ids-dropout",
        "zoneout-residual",
        "remat-embedding-weight-drop",
        "lm-embedding-dropout",
    }
]


def losses(ys: jax.Array) -> jax.Array:
    """One for each step and row, nonlinear."""
    return jnp.sin(ys * (1 + jnp.arange(ys.shape[-1])).reshape((1,) * (ys.ndim - 1) + (-1,))).sum(
        -1
    )


def squares(tree: Any) -> list[np.ndarray]:
    """``[B]`` for each leaf: the squares of a gradient, summed over the features."""
    leaves = [np.abs(np.asarray(leaf)) ** 2 for leaf in jax.tree.leaves(tree)]
    return [leaf.reshape(len(leaf), -1).sum(1) for leaf in leaves]


def pairs(member: Any, params: Any, carry: Any, xs: Any, key: Any = None) -> np.ndarray:
    """``[leaves, T, T, B]``: squares of ∂L_t/∂c_s for s < t, each by a gradient of its own."""
    after, _ = r.all_carries(member, params, carry, xs, key=key)
    found = np.zeros((len(jax.tree.leaves(after)), len(xs), len(xs), xs.shape[1]))

    @jax.jit
    def gradient(state: Any, xs: Any, start: Any) -> Any:
        def last_loss(state: Any) -> Any:
            _, ys = member.apply(params, state, xs, key=key, start=start)
            return losses(ys)[-1].sum()

        return jax.grad(last_loss)(state)

    for s in range(len(xs)):
        state = jax.tree.map(lambda c: c[s], after)
        for t in range(s + 1, len(xs)):
            found[:, t, s] = squares(gradient(state, xs[s + 1 : t + 1], s + 1))
    return found


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
@pytest.mark.parametrize("case", MEMBERS, ids=str)
def test_flow_is_the_gradient_of_every_pair(case: Case) -> None:
    params, xs = case.init(), case.inputs(T, (B,))
    carry = case.carry((B,), params)
    flow = gradient_flow(case.member, params, carry, xs, loss=losses, key=KEY)
    norms = np.sqrt(pairs(case.member, params, carry, xs, KEY).sum(0))
    _, ys = case.member.apply(params, carry, xs, key=KEY)
    # The gradient starts at the output of the recurrent part, before the read-out of a model.
    own = np.asarray(flow.norms[..., 0]) if case.model else start_norms(ys)
    np.testing.assert_allclose(flow.norms, by_lag(norms, own), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(flow.mean, np.nanmean(flow.norms, axis=(0, 1)), rtol=1e-12)
    some = gradient_flow(case.member, params, carry, xs, loss=losses, key=KEY, lags=[4, 1])
    np.testing.assert_allclose(some.norms, flow.norms[..., jnp.array([4, 1])], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_lag_zero_of_a_model_is_the_gradient_of_its_hidden_output() -> None:
    params, xs = MODEL.init(), MODEL.inputs(T, (B,))
    flow = gradient_flow(MODEL.member, params, None, xs, loss=losses, lags=[0])
    _, logits = MODEL.member.apply(params, None, xs)
    gradient = jax.grad(lambda ys: losses(ys).sum())(logits) @ params["readout"]["w"].T
    np.testing.assert_allclose(flow.norms[..., 0], jnp.linalg.norm(gradient, axis=-1), rtol=1e-10)


def reaches(kind: r.Truncation, t: int, s: int) -> bool:
    """Whether loss t sends a gradient to the state after step s; s = t is its own output."""
    if isinstance(kind, r.Sliding):
        return t - s <= kind.steps
    if isinstance(kind, r.Chunked):
        return t // kind.window == s // kind.window
    return not isinstance(kind, r.Tail) or s >= T - kind.steps


KINDS = (r.full(), r.sliding(0), r.sliding(K), r.sliding(T), r.chunked(1), r.chunked(K), r.tail(K))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", [PLAIN, STACK, MODEL], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_truncation_cuts_exactly_what_it_says(case: Case, kind: r.Truncation) -> None:
    params, xs = case.init(), case.inputs(T, (B,))
    whole = np.asarray(gradient_flow(case.member, params, None, xs, loss=losses).norms)
    cut = r.truncate(case.member, kind)
    flow = np.asarray(gradient_flow(cut, params, None, xs, loss=losses).norms)
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
    each = pairs(STACK.member, params, carry, xs)
    for cut, kept in (
        (r.serial(r.truncate(lower, r.sliding(0)), upper), each[1]),
        (r.serial(r.residual(r.serial(lower)), r.truncate(upper, r.chunked(1))), None),
    ):
        if kept is not None:
            flow = gradient_flow(cut, params, carry, xs, loss=losses)
            own = np.asarray(flow.norms[..., 0])
            np.testing.assert_allclose(flow.norms, by_lag(np.sqrt(kept), own), rtol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", [None, r.chunked(2), r.sliding(2), r.tail(2)], ids=str)
def test_a_masked_row_flows_as_it_does_alone(kind: Any) -> None:
    lengths = (T, 4, 1, 0)
    params, xs = STACK.init(), np.array(STACK.inputs(T, (len(lengths),)))
    mask = r.length_mask(jnp.array(lengths), T)
    xs[~np.asarray(mask)] = np.nan
    layer = STACK.member if kind is None else r.truncate(STACK.member, kind)
    flow = gradient_flow(layer, params, None, jnp.array(xs), loss=losses, mask=mask)
    for row, length in enumerate(lengths):
        alone = gradient_flow(layer, params, None, jnp.array(xs[:length, row]), loss=losses)
        got = np.asarray(flow.norms[:, row])
        np.testing.assert_allclose(got[:length, :length], alone.norms, rtol=1e-9)
        assert np.isnan(got[length:]).all() and np.isnan(got[:, length:]).all()
    np.testing.assert_allclose(flow.mean, np.nanmean(flow.norms, axis=(0, 1)), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_holes_in_a_mask_are_no_steps_but_count_as_positions() -> None:
    params, xs = PLAIN.init(), PLAIN.inputs(5, ())
    mask = jnp.array([False, True, True, False, True])
    kept = jnp.array([1, 2, 4])
    for kind in (r.full(), r.chunked(3), r.tail(2)):
        layer = r.truncate(PLAIN.member, kind)
        got = np.asarray(gradient_flow(layer, params, None, xs, mask=mask).norms)
        whole = np.asarray(gradient_flow(PLAIN.member, params, None, xs[kept]).norms)
        # The cut before the masked step 3 takes effect at step 4; `tail` begins at that step's
        # position less one, which is masked, and so does it.
        into_last = 0 if kind != r.full() else 1
        dead = 0 if isinstance(kind, r.Tail) else 1
        expected = np.full((5, 5), np.nan)
        expected[1, 0], expected[2, :2] = dead * whole[0, 0], dead * whole[1, :2]
        expected[4, [0, 2, 3]] = whole[2] * np.array([1, into_last, into_last])
        np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_randomized_reweights_what_it_lets_through() -> None:
    params, xs = PLAIN.init(), PLAIN.inputs(T, (5,))
    layer = r.truncate(PLAIN.member, r.randomized(0.5))
    whole = gradient_flow(PLAIN.member, params, None, xs).norms
    drawn = gradient_flow(layer, params, None, xs, key=KEY).norms
    ratio = np.asarray(drawn / whole)[K:, :, : K + 1]
    weights = 2.0 ** np.arange(K + 1)
    assert np.all((ratio == 0) | np.isclose(ratio, weights[None, None], rtol=1e-9))
    assert 0 < (ratio == 0).mean() < 1
    np.testing.assert_array_equal(gradient_flow(layer, params, None, xs).norms, whole)


def test_tanh_vanishes_within_its_bound_and_an_open_lstm_does_not() -> None:
    steps, size = 40, 8
    xs = jax.random.normal(jax.random.key(0), (steps, 3, size))
    tanh, lstm = r.recurrent(r.elman(size)), r.recurrent(r.lstm(size, forget_bias=6.0))
    flows = {}
    for layer in (tanh, lstm):
        params = layer.init(jax.random.key(1), size)
        flows[layer] = gradient_flow(layer, params, None, xs)
        largest = np.asarray(state_jacobians(layer, params, None, xs))[:, :, 0]
        for k in (1, 5, 12):
            bound = np.prod([largest[steps - 1 - i] for i in range(k)], axis=0)
            assert np.all(flows[layer].norms[-1, :, k] <= bound * 1.0001)
    np.testing.assert_allclose(flows[tanh].mean[0], 1, rtol=1e-5)
    assert flows[tanh].mean[30] < 1e-5
    assert flows[lstm].mean[30] > 0.3 * flows[lstm].mean[1] > 0


def test_flow_of_one_step_of_none_and_in_any_batch_shape() -> None:
    params = PLAIN.init()
    for shape in ((), (2,), (2, 3)):
        for length in (0, 1, 2):
            flow = gradient_flow(PLAIN.member, params, None, PLAIN.inputs(length, shape))
            assert flow.norms.shape == (length, *shape, length) and flow.mean.shape == (length,)
            if length:
                np.testing.assert_allclose(flow.norms[..., 0], 1, rtol=1e-5)


def test_errors_of_the_flow_say_what_is_wrong() -> None:
    params, xs = PLAIN.init(), PLAIN.inputs(T, (B,))
    with pytest.raises(ValueError, match="lag of 7 does not fit"):
        gradient_flow(PLAIN.member, params, None, xs, lags=[T])
    with pytest.raises(ValueError, match="lag must be an integer"):
        gradient_flow(PLAIN.member, params, None, xs, lags=[-1])
    with pytest.raises(ValueError, match="one loss a step and row"):
        gradient_flow(PLAIN.member, params, None, xs, loss=jnp.sum)
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
    values = state_jacobians(PLAIN.member, params, carry, xs, mask=mask)
    _, hs = PLAIN.member.apply(params, carry, xs, mask=mask)
    slopes = 1 - hs[..., None] ** 2  # of the rows of W^T
    expected = np.linalg.svd(slopes * params["w_hh"].T[None, None], compute_uv=False)
    np.testing.assert_allclose(values, np.where(mask[..., None], expected, 1), rtol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["lstm", "lru", "stack", "min-lstm"])
def test_jacobians_of_any_carry(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    params, xs = case.init(), case.inputs(3, ())
    carry = case.carry((), params)
    values = np.asarray(state_jacobians(case.member, params, carry, xs))
    assert np.all(np.diff(values, axis=-1) <= 0)
    for t in range(len(xs)):
        if name == "lru":  # a complex factor a unit: twice its absolute value
            factor, _ = case.member.cell.coefficients(params, None)
            expected = np.sort(np.repeat(np.abs(np.asarray(factor)), 2))[::-1]
        else:

            def step(state: Any, t: int = t) -> Any:
                return case.member.apply(params, state, xs[t : t + 1])[0]

            blocks = jax.tree.leaves(jax.jacobian(step)(carry))
            count = len(jax.tree.leaves(carry))
            grid = [blocks[i * count : (i + 1) * count] for i in range(count)]
            expected = np.linalg.svd(np.block(grid), compute_uv=False)
        np.testing.assert_allclose(values[t], expected, rtol=1e-8)
        carry, _ = case.member.apply(params, carry, xs[t : t + 1])
    assert state_jacobians(case.member, params, None, xs[:0]).shape == (0, values.shape[-1])


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
    case = next(case for case in CASES if case.name == name)
    cell = case.member.cell
    params, xs = case.init(), 3 * case.inputs(T, (3,))
    carry = case.carry((3,), params)
    mask = r.length_mask(jnp.array([T, 4, 0]), T)
    saturation = gate_saturation(cell, params, carry, xs, mask=mask, bins=10)
    p = jax.tree.map(np.asarray, params)
    seen: dict[str, list[np.ndarray]] = {gate: [] for gate in saturation.gates}
    for t in range(T):
        state = jax.tree.map(np.asarray, carry)
        for gate, values in gates_of_step(name, cell, p, state, np.asarray(xs[t])).items():
            seen[gate].append(values[np.asarray(mask[t])])
        carry, _ = case.member.apply(params, carry, xs[t : t + 1], mask=mask[t : t + 1])
    np.testing.assert_allclose(saturation.edges, np.arange(11) / 10)
    for row, gate in enumerate(saturation.gates):
        values = np.concatenate(seen[gate])
        assert len(values) == T + 4
        counts, _ = np.histogram(values, bins=10, range=(0, 1))
        np.testing.assert_allclose(saturation.histogram[row], counts / values.size)
        np.testing.assert_allclose(saturation.low[row], (values < 0.1).mean(0))
        np.testing.assert_allclose(saturation.high[row], (values > 0.9).mean(0))


def test_gates_of_no_steps_and_of_cells_without_any() -> None:
    cell = r.gru(3)
    params = cell.init(KEY, SIZE)
    for xs, mask in (
        (jnp.ones((0, 2, SIZE)), None),
        (jnp.ones((T, 2, SIZE)), jnp.zeros((T, 2), bool)),
    ):
        saturation = gate_saturation(cell, params, None, xs, mask=mask)
        assert not saturation.histogram.any() and saturation.low.shape == (2, 3)
    with pytest.raises(ValueError, match="takes an LSTM or GRU cell"):
        gate_saturation(r.elman(3), params, None, xs)
    with pytest.raises(ValueError, match="of a layer pass its cell"):
        gate_saturation(r.recurrent(cell), params, None, xs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bins must be an integer"):
        gate_saturation(cell, params, None, xs, bins=0)


def test_plots_show_what_was_measured() -> None:
    layer, cell = r.recurrent(r.lstm(3)), r.lstm(3)
    params, xs = layer.init(KEY, SIZE), jax.random.normal(KEY, (T, B, SIZE))
    flows = {
        str(kind): gradient_flow(r.truncate(layer, kind), params, None, xs)
        for kind in (r.full(), r.sliding(2))
    }
    whole, short = plot_gradient_flow(flows).axes[0].lines
    assert whole.get_label() == "full" and np.isfinite(whole.get_ydata()).all()
    assert np.isfinite(short.get_ydata()).tolist() == [True] * 3 + [False] * (T - 3)
    assert whole.get_markevery() == [] and short.get_markevery() == [2]
    values = state_jacobians(layer, params, None, xs)
    (axes,) = plot_state_jacobians({"lstm": values}).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.median(values[:, :, 0], axis=1))
    saturation = gate_saturation(cell, params, None, xs)
    figure = plot_gate_saturation(saturation)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["gate i", "gate f", "gate o"]
    figure.savefig("/dev/null", format="png")
