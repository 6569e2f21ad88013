"""Truncated gradients of the word model against loops in NumPy, and the kinds as values."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

import rnn_jax as r
from rnn_jax.reference import NumpyRNN
from tests import oracles
from tests.cases import PLAIN, STACK, assert_close, outputs_loss, quick_jit, raw_outcome

ORACLES: dict[str, tuple[Any, Any]] = {
    "sliding": (r.sliding, oracles.sliding_gradients),
    "tail": (r.tail, oracles.tail_gradients),
    "chunked": (r.chunked, oracles.chunked_gradients),
}
K = 3
# Lengths around the window, then at random; k at random, too, from the seventh on.
LENGTHS = (1, 2, K, K + 1, K + 2, 2 * K, *np.random.default_rng(0).integers(1, 12, 14).tolist())


def word_model(vocab: int, hidden: int) -> r.LanguageModel:
    return r.language_model(vocab, r.recurrent(r.elman(hidden, bias=False)), bias=False)


@quick_jit
def word_gradients(models: tuple[Any, ...], params: Any, x: Any, y: Any) -> list[Any]:
    def loss(params: Any, model: Any) -> Any:
        _, logits = model.apply(params, model.initial_carry((), params), x)
        return r.cross_entropy(logits, y, reduction="sum")

    return [jax.grad(loss)(params, model) for model in models]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("seed", range(len(LENGTHS)))
def test_word_model_equals_numpy_on_random_shapes(seed: int) -> None:
    rng, T = np.random.default_rng(seed), LENGTHS[seed]
    V, H = rng.integers(2, 9, 2).tolist()
    k = K if seed < 6 else int(rng.integers(1, 6))
    U, Vm, W = rng.normal(size=(H, V)), rng.normal(size=(V, H)), rng.normal(size=(H, H))
    x, y = rng.integers(0, V, (2, T))
    kinds = [make(k) for make, _ in ORACLES.values()]
    models = tuple(r.truncate(word_model(V, H), kind) for kind in kinds)
    results = word_gradients(models, r.interop.from_uvw(U, Vm, W), jnp.array(x), jnp.array(y))
    for got, (name, (_, oracle)) in zip(results, ORACLES.items(), strict=True):
        expected = oracle(U, Vm, W, x, y, k)
        for ours, theirs in zip(r.interop.to_uvw(got), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.usefixtures("x64")
def test_sliding_zero_is_one_application() -> None:
    model = NumpyRNN.init(6, 4, seed=1)
    x, y = np.array([0, 3, 3, 5]), np.array([3, 3, 5, 1])
    params = r.interop.from_uvw(model.U, model.V, model.W)
    members = (r.truncate(word_model(6, 4), r.sliding(0)),)
    (got,) = word_gradients(members, params, jnp.array(x), jnp.array(y))
    for ours, theirs in zip(r.interop.to_uvw(got), model.gradients(x, y, 0), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ORACLES)
def test_sgd_steps_equal_numpy(name: str) -> None:
    """Weights after several steps of training, with sentences padded to one length."""
    make, oracle = ORACLES[name]
    rng, k, rate, V, H, T = np.random.default_rng(3), 2, 0.3, 7, 4, 6
    numpy = NumpyRNN.init(V, H, seed=2)
    weights = [numpy.U.copy(), numpy.V.copy(), numpy.W.copy()]
    model, optimizer = r.truncate(word_model(V, H), make(k)), r.sgd(rate)

    def loss(logits: Any, targets: Any, *, mask: Any) -> Any:
        return r.cross_entropy(logits, targets, mask=mask, reduction="sum")

    step = quick_jit(r.make_train_step(model, optimizer, loss=loss), ())
    state = r.init_train_state(model, optimizer, r.interop.from_uvw(*weights))
    for n in (4, 1, 6, 2, 3):
        x, y = rng.integers(0, V, (2, n))
        for w, d in zip(weights, oracle(*weights, x, y, k), strict=True):
            w -= rate * d
        px, py = (jnp.asarray(np.pad(a, (0, T - n), constant_values=99)) for a in (x, y))
        state, metrics = step(state, r.Batch(px, py, r.length_mask(jnp.array(n), T)))
        assert int(metrics["tokens"]) == n
        if name == "sliding":
            numpy.sgd_step(x, y, rate, k)
    for ours, theirs in zip(r.interop.to_uvw(state.params), weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    if name == "sliding":
        np.testing.assert_allclose(weights[0], numpy.U, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_sliding_batched_and_masked_is_a_sum_over_sentences() -> None:
    rng, V, H, k = np.random.default_rng(5), 6, 3, 2
    numpy, lengths, T = NumpyRNN.init(V, H, seed=5), (7, 0, 1, 4), 7
    x, y = rng.integers(0, V, (2, T, len(lengths)))
    expected = [np.zeros_like(a) for a in (numpy.U, numpy.V, numpy.W)]
    for b, n in enumerate(lengths):
        for total, d in zip(expected, numpy.gradients(x[:n, b], y[:n, b], k), strict=True):
            total += d
    model = r.truncate(word_model(V, H), r.sliding(k))
    mask = r.length_mask(jnp.array(lengths), T)

    def loss(params: Any) -> Any:
        _, logits = model.apply(params, None, jnp.asarray(x), mask=mask)
        return r.cross_entropy(logits, jnp.asarray(y), mask=mask, reduction="sum")

    grads = quick_jit(jax.grad(loss), ())(r.interop.from_uvw(numpy.U, numpy.V, numpy.W))
    for ours, theirs in zip(r.interop.to_uvw(grads), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_tail_of_a_model_does_not_train_the_early_readout() -> None:
    """Of a layer it lets the caller's read-out learn from every step, of a model it does not."""
    model = r.language_model(5, PLAIN.member)
    params, ids = model.init(jax.random.key(0)), jnp.array([0, 1, 2, 3, 4])
    member = r.truncate(model, r.tail(2))

    def loss(params: Any, t: int) -> Any:
        return (member.apply(params, None, ids)[1][t] ** 2).sum()

    early, late = (jax.grad(loss)(params, t) for t in (2, 3))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(early))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(late["readout"]))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", (PLAIN, STACK), ids=str)
def test_an_outer_gate_of_ones_changes_nothing_under_sliding(case: Any) -> None:
    """The padding in front of the first windows has no factor to cut off the caller's carry."""
    params, xs = case.init(), case.inputs(5, (2,))
    carry, member = case.carry((2,), params), r.truncate(case.member, r.sliding(1))
    both = quick_jit(
        lambda p, c, x, g: (raw_outcome(member, p, c, x), raw_outcome(member, p, c, x, gate=g)),
        static=(),
    )
    without, ones = both(params, carry, xs, jnp.ones((5, 2)))
    assert_close(ones, without)
    # Factors of zero leave each loss its own step alone, and the caller's carry no gradient.
    zeros = both(params, carry, xs, jnp.zeros((5, 2)))[1]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(zeros["dcarry"]))


def test_gates_of_masked_steps_wait_for_the_next_valid_one() -> None:
    layer = r.recurrent(r.elman(1, activation=lambda h: h, bias=False))
    params = {"w_ih": jnp.zeros((1, 1)), "w_hh": jnp.ones((1, 1))}
    gate = jnp.array([1.0, 2.0, 3.0, 5.0, 7.0])
    mask = jnp.array([True, False, True, True, False])

    def outputs(carry: Any) -> Any:
        final, ys = layer.apply(params, carry, jnp.zeros((5, 1)), mask=mask, gradient_scale=gate)
        return jnp.concatenate([ys[:, 0], final])

    slopes = jax.jacobian(outputs)(jnp.ones(1))[:, 0]
    np.testing.assert_array_equal(slopes, [1, 0, 2 * 3, 2 * 3 * 5, 0, 2 * 3 * 5])


# all_carries


class Decay:
    """A user's layer: a leaky sum with noise, one step after the other, without `carries`."""

    output_size = None
    causal = True

    def init(self, key: Any, input_size: int) -> Any:
        return {"rate": jnp.linspace(0.2, 0.8, input_size)}

    def initial_carry(self, batch_shape: tuple[int, ...], params: Any = None) -> Any:
        return jnp.zeros((*batch_shape, 5), None if params is None else params["rate"].dtype)

    def apply(
        self, params: Any, carry: Any, xs: Any, *, mask: Any = None, key: Any = None, **along: Any
    ) -> Any:
        start = along.get("start", 0)
        mask = jnp.ones(xs.shape[:-1], bool) if mask is None else mask
        gate = along.get("gradient_scale")
        gate = jnp.ones(xs.shape[:-1]) if gate is None else gate

        def body(c: Any, step: Any) -> Any:
            t, x, valid, g = step
            held = lax.stop_gradient(c)
            noise = 0 if key is None else jax.random.normal(jax.random.fold_in(key, t))
            new = jnp.tanh((held + g[..., None] * (c - held)) * params["rate"][None] + x + noise)
            new = jnp.where(valid[..., None], new, c)
            return new, (jnp.where(valid[..., None], new, 0))

        return lax.scan(body, carry, (start + jnp.arange(len(xs)), xs, mask, gate))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "layer",
    (Decay(), r.serial(r.recurrent(r.elman(5)), Decay()), STACK.member, PLAIN.member,
     r.truncate(STACK.member, r.sliding(1)), r.truncate(STACK.member, r.chunked(2))),
    ids=("user", "user-in-stack", "stack", "recurrent", "sliding", "chunked"),
)  # fmt: skip
def test_all_carries_equals_step_by_step(layer: Any) -> None:
    T, key = 4, jax.random.key(3)
    rng = np.random.default_rng(0)
    params = layer.init(jax.random.key(0), 5)
    xs = jnp.asarray(rng.normal(size=(T, 3, 5)))
    mask = r.length_mask(jnp.array([4, 0, 2]), T)
    at_once = quick_jit(
        lambda p, c, x, m: r.all_carries(layer, p, c, x, mask=m, key=key), static=()
    )
    carries, ys = at_once(params, layer.initial_carry((3,), params), xs, mask)
    one = quick_jit(lambda p, c, x, m, t: layer.apply(p, c, x, mask=m, key=key, start=t), static=())
    carry = layer.initial_carry((3,), params)
    for t in range(T):
        carry, y = one(params, carry, xs[t : t + 1], mask[t : t + 1], t)
        assert_close(jax.tree.map(lambda leaf, t=t: leaf[t], (carries, ys)), (carry, y[0]))


class Bare:
    """A layer that keeps its method `carries` to itself."""

    causal = True

    def __init__(self, layer: Any) -> None:
        self.init, self.initial_carry = layer.init, layer.initial_carry
        self.apply, self.output_size = layer.apply, layer.output_size


@pytest.mark.usefixtures("x64")
def test_gates_and_resets_of_masked_steps_are_not_lost_step_by_step() -> None:
    layer, rng = r.recurrent(r.gru(3)), np.random.default_rng(0)
    params, xs = layer.init(jax.random.key(0), 5), PLAIN.inputs(6, (2,))
    carry = jnp.full((2, 3), 0.3)
    steps: Any = {
        "mask": jnp.array([[0, 1], [1, 0], [0, 0], [1, 1], [0, 1], [1, 0]], bool),
        "resets": jnp.array([[1, 0], [0, 0], [1, 1], [0, 0], [0, 0], [1, 1]], bool),
        "gradient_scale": jnp.asarray(rng.uniform(size=(6, 2))),
    }

    def outcome(layer: Any) -> Any:
        def loss(params: Any, carry: Any, xs: Any) -> Any:
            carries, ys = r.all_carries(layer, params, carry, xs, **steps)
            return outputs_loss(carries) + outputs_loss(ys), (carries, ys)

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, carry, xs)

    assert_close(outcome(Bare(layer)), outcome(layer))


@pytest.mark.usefixtures("x64")
def test_a_users_layer_can_be_truncated() -> None:
    """Gated, and recomputed in windows: large windows are none, small ones differ; values stay."""
    layer = Decay()
    params, xs = layer.init(jax.random.key(0), 5), PLAIN.inputs(5, (2,))
    carry = jnp.full((2, 5), 0.3)

    @quick_jit
    def run(members: tuple[Any, ...], params: Any, carry: Any, xs: Any) -> list[Any]:
        return [raw_outcome(m, params, carry, xs, key=jax.random.key(1)) for m in members]

    kinds = (r.chunked(5), r.sliding(4), r.tail(5), r.sliding(1), r.chunked(2))
    base, *results = run((layer, *(r.truncate(layer, kind) for kind in kinds)), params, carry, xs)
    for result in results[:3]:
        assert_close(result, base)
    for result in results[3:]:
        assert_close((result["carry"], result["ys"]), (base["carry"], base["ys"]))
        assert not np.allclose(result["dparams"]["rate"], base["dparams"]["rate"], rtol=1e-3)


# The kinds as values


KINDS = (r.full(), r.chunked(35), r.sliding(4), r.tail(4), r.randomized(0.9))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_kinds_are_values_and_parse(kind: r.Truncation) -> None:
    assert r.parse_truncation(str(kind)) == kind
    assert r.parse_truncation(f" {kind} ") == kind
    assert hash(r.parse_truncation(str(kind))) == hash(kind)
    assert {kind: 1}[r.parse_truncation(str(kind))] == 1
    assert sum(kind == other for other in KINDS) == 1


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_min=True))
def test_parse_is_the_inverse_of_str(n: int, p: float) -> None:
    for kind in (r.chunked(n), r.sliding(n - 1), r.tail(n), r.randomized(p)):
        assert r.parse_truncation(str(kind)) == kind


BAD_TEXTS = """full: full:3 chunked chunked: chunked:0 chunked:-2 sliding:-1 tail:0 tail:1.5
    randomized:0 randomized:1.1 randomized:nan window:3 sliding:4:4"""


@pytest.mark.parametrize("text", ("", *BAD_TEXTS.split()))
def test_what_does_not_parse(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a truncation.*; write full, chunked:35"):
        r.parse_truncation(text)


REVERSED = r.recurrent(r.elman(3), reverse=True)
ANY: Any = r  # for calls that the types already forbid


@pytest.mark.parametrize(
    ("make", "message"),
    (
        (lambda: r.chunked(0), "window must be an integer of at least 1, not 0"),
        (lambda: r.chunked(True), "window must be an integer"),
        (lambda: r.sliding(-1), "steps must be an integer of at least 0, not -1"),
        (lambda: r.tail(0), "steps must be an integer of at least 1"),
        (lambda: ANY.tail(2.0), r"steps must be an integer of at least 1, not 2\.0"),
        (lambda: r.randomized(0.0), "keep must be a probability"),
        (lambda: r.randomized(float("nan")), "keep must be a probability"),
        (lambda: ANY.truncate(PLAIN.member, "sliding:4"), "'sliding:4' is not a truncation"),
        (lambda: ANY.truncate(r.elman(3), r.full()), "takes a layer or model, not Elman"),
        (lambda: r.truncate(REVERSED, r.full()), "is not causal"),
        (lambda: r.truncate(r.truncate(PLAIN.member, r.tail(1)), r.full()), "truncated already"),
        (lambda: r.truncate(r.truncate(word_model(5, 3), r.sliding(1)), r.full()), "truncated alr"),
        (
            lambda: r.all_carries(REVERSED, {}, None, jnp.ones((2, 5))),
            "is not causal",
        ),
        (
            lambda: REVERSED.carries({}, None, jnp.ones((2, 5))),
            "is not causal: it has no carry",
        ),
    ),
)  # fmt: skip
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_truncated_layer_deep_inside_is_found() -> None:
    inner = r.truncate(r.recurrent(r.elman(3)), r.chunked(2))
    stack = r.serial(r.recurrent(r.elman(3)), r.serial(inner))
    for outer in (stack, r.language_model(5, stack)):
        with pytest.raises(ValueError, match="truncated already"):
            r.truncate(outer, r.sliding(1))
