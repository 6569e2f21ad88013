"""bfloat16 products, float32 parameters, states, sums and statistics."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from rnn_jax.diagnostics import gradient_flow
from tests.cases import CASES, Case, assert_close, every_case, outcome, quick_jit

T, B, V = 5, 3, 7
FLOAT32 = {jnp.dtype("float32")}
LM = r.language_model(V, r.recurrent(r.gru(4)), embedding_size=3)
NARROW: Any = r.mixed_precision(LM)
PARAMS = LM.init(jax.random.key(0))
TOKENS = jax.random.randint(jax.random.key(1), (T + 1, B), 0, V)
# A factor rounded to bfloat16 is off by 1/512 at most. From a parameter or an input to a result and
# back a number passes at most 2 · T products, and no weight of these models enlarges what it gets
# by much: 2 · 5 / 512 of the largest entry, and half as much again.
ROUNDING = 0.03


def dtypes(tree: Any) -> set[Any]:
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


def rounded(tree: Any) -> Any:
    """Matrices as bfloat16 has them, in float32."""

    def one(leaf: jax.Array) -> jax.Array:
        if leaf.ndim > 1 and jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf.astype(jnp.bfloat16).astype(jnp.float32)
        return leaf

    return jax.tree.map(one, tree)


def calm(case: Case) -> tuple[Any, Any, jax.Array]:
    """Parameters, carry and inputs of float32, the parameters half those of the laws."""
    params = jax.tree.map(lambda p: 0.5 * p, case.init())
    return params, case.carry((B,), params), case.inputs(T, (B,))


@every_case
def test_all_members_against_float32_at_rounded_parameters(case: Case) -> None:
    params, carry, xs = calm(case)
    mask = r.length_mask(jnp.array([T, 2, 0]), T)
    result = outcome(r.mixed_precision(case.member), params, carry, xs, mask)
    assert str(jax.tree.structure(result["dparams"])) == str(jax.tree.structure(params))
    assert dtypes(result) <= FLOAT32 | {jnp.dtype("complex64")}
    assert_close(result, outcome(case.member, rounded(params), carry, rounded(xs), mask), ROUNDING)


KINDS = [r.full(), r.chunked(2), r.sliding(1), r.tail(2), r.randomized(0.7)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", ["model", "layer"])
def test_truncation_inside_and_around(kind: r.Truncation, name: str) -> None:
    layer = r.recurrent(r.lstm(4))
    case = Case("", LM, ids=True, model=True) if name == "model" else Case("", layer, ids=False)
    params, carry, xs = calm(case)
    key = jax.random.key(3)
    expected = outcome(
        r.truncate(case.member, kind), rounded(params), carry, rounded(xs), None, key
    )
    inside = r.mixed_precision(r.truncate(case.member, kind))
    around = r.truncate(r.mixed_precision(case.member), kind)
    for member in dict.fromkeys((inside, around)):
        assert_close(outcome(member, params, carry, xs, None, key), expected, ROUNDING)
    assert (inside == around) is (kind != r.tail(2))


def test_remat_inside_and_around_is_one_thing() -> None:
    model = r.mixed_precision(r.remat(LM, 2))
    assert model == r.remat(NARROW, 2)
    carry = NARROW.initial_carry((B,), PARAMS)
    # Gradients are rounded after each chunk, and after all.
    pieces, whole = (outcome(m, PARAMS, carry, TOKENS) for m in (model, NARROW))
    assert_close(pieces, whole, rtol=2**-7)


def test_noise_is_that_of_the_layer() -> None:
    case = next(case for case in CASES if case.name == "stack-ids-dropout")
    params, carry, xs = calm(case)
    key = jax.random.key(5)
    result = outcome(r.mixed_precision(case.member), params, carry, xs, None, key)
    expected = outcome(case.member, rounded(params), carry, xs, None, key)
    assert_close(result, expected, ROUNDING)
    assert not np.allclose(expected["ys"], outcome(case.member, params, carry, xs)["ys"], rtol=0.1)


def test_an_encoder_decoder_reads_and_writes() -> None:
    encoder = r.serial(r.embedding(3), r.recurrent(r.gru(4)))
    plain = r.encoder_decoder(V, encoder, LM, bridge=True)
    model: Any = r.mixed_precision(plain)
    params = model.init(jax.random.key(0))

    def loss(params: Any, model: Any) -> Any:
        carry = model.encode(params, TOKENS, r.length_mask(jnp.array([6, 2, 1]), T + 1))
        _, logits = model.apply(params, carry, TOKENS[:-1])
        return r.cross_entropy(logits, TOKENS[1:]), carry

    grad = quick_jit(jax.value_and_grad(loss, has_aux=True), static=1)
    result = grad(params, model)
    assert dtypes(result) == FLOAT32
    assert_close(result, grad(rounded(params), plain), ROUNDING)
    carry = model.encode(params, TOKENS)
    options: Any = {"length": 4, "key": jax.random.key(0), "temperature": 0}
    _, tokens = r.generate(model, params, carry, TOKENS[:1], **options)
    beams, _ = r.beam_search(model, params, carry, TOKENS[:1], beams=2, length=4)
    assert tokens.shape == (4, B) and beams.shape == (4, B, 2)
    with pytest.raises(ValueError, match=r"pass carry=model\.encode"):
        model.apply(params, None, TOKENS)
    assert not hasattr(NARROW, "encode")


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_a_classifier_pools_in_float32(pooling: Any) -> None:
    both = r.bidirectional(r.recurrent(r.gru(2)), r.recurrent(r.gru(3), reverse=True))
    plain = r.sequence_classifier(2, both, input_size=4, pooling=pooling)
    params = plain.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (300, B, 4))  # bfloat16 has no number 257 … 299
    mask = r.length_mask(jnp.array([300, 257, 0]), 300)
    run = quick_jit(lambda model, params: model.apply(params, None, xs, mask=mask)[1])
    expected = run(plain, rounded(params))
    assert run(r.mixed_precision(plain), params).shape == (B, 2)
    np.testing.assert_allclose(run(r.mixed_precision(plain), params), expected, atol=0.01)
    part = r.sequence_classifier(2, r.mixed_precision(both), input_size=4, pooling=pooling)
    np.testing.assert_allclose(run(part, params), expected, atol=0.01)


def test_only_matrices_are_rounded() -> None:
    """The eigenvalues of an `lru`, near the unit circle, need more than 8 bits."""
    model: Any = r.mixed_precision(r.recurrent(r.lru(3, r_min=0.9, learned_carry=True)))
    params = model.init(jax.random.key(0), 2)
    narrow = model.rounded(params)
    for name, leaf in params.items():
        assert leaf.dtype == jnp.float32
        assert narrow[name].dtype == (jnp.bfloat16 if name.startswith("w_") else jnp.float32)
    assert all(
        a is b
        for a, b in zip(*map(jax.tree.leaves, (model.rounded(narrow), narrow)), strict=True)
        if a.ndim == 1
    )
    assert all((model.rounded(narrow)[name] == narrow[name]).all() for name in narrow)


def test_logits_are_the_float32_sums() -> None:
    _, logits = NARROW.apply(PARAMS, None, TOKENS)
    assert logits.dtype == jnp.float32
    assert (logits != logits.astype(jnp.bfloat16)).mean() > 0.9


def test_a_norm_takes_its_statistics_in_float32() -> None:
    """Of products like 100.25, which bfloat16 rounds to a multiple of ½."""
    layer = r.recurrent(r.elman(4, layer_norm=True))
    params = layer.init(jax.random.key(0), 2)
    params["w_ih"] = jnp.array([[100.0] * 4, [0.0, 0.25, 0.5, 1.0]])
    xs = jnp.ones((1, 2))
    carry, _ = r.mixed_precision(layer).apply(params, None, xs)
    np.testing.assert_allclose(carry, layer.apply(params, None, xs)[0], rtol=1e-5)


def test_a_memory_cell_adds_in_float32() -> None:
    """In bfloat16 the sum would stand still at 64, where a quarter is less than half a unit."""
    layer = r.mixed_precision(r.recurrent(r.lstm(1)))
    params = {
        "w_ih": jnp.zeros((1, 4)),
        "w_hh": jnp.zeros((1, 4)),
        "b": jnp.array([40.0, 40.0, 0.25, 0.0]),
    }
    (_, c), _ = layer.apply(params, None, jnp.zeros((1000, 1)))
    np.testing.assert_allclose(c, 1000 * np.tanh(0.25), rtol=1e-5)


@pytest.mark.parametrize("how", ["fast", "scan", "remat", "zoneout"])
def test_gradients_of_weights_are_summed_in_float32(how: str) -> None:
    """``h = x = 1`` at each step and ``∂Σh/∂W = T``; in bfloat16 the sum would end at 256."""
    cell = r.elman(1, activation=lambda a: a)
    layer = {
        "fast": r.recurrent(cell),
        "scan": r.recurrent(cell, backend="scan"),
        "remat": r.remat(r.recurrent(cell), 1),
        "zoneout": r.zoneout(cell, 0.0, backend="scan"),
    }[how]
    params = {"w_ih": jnp.ones((1, 1)), "w_hh": jnp.zeros((1, 1)), "b": jnp.zeros(1)}

    def total(params: Any) -> Any:
        return r.mixed_precision(layer).apply(params, None, jnp.ones((601, 1)))[1].sum()

    grads = quick_jit(jax.grad(total), static=())(params)
    assert {name: g.item() for name, g in grads.items()} == {
        "w_ih": 600.0,
        "w_hh": 600.0,
        "b": 601.0,
    }
    # 601 as bfloat16, where it was rounded, is 600.


@pytest.mark.parametrize("layer", [r.embedding(1), r.linear(1, bias=False)], ids=str)
def test_gradients_of_rows_are_summed_in_float32(layer: r.Layer) -> None:
    (name,) = layer.init(jax.random.key(0), 2)

    def total(params: Any) -> Any:
        ids = jnp.ones((1000, 1), int)
        return r.mixed_precision(layer).apply(params, None, ids)[1].sum()

    grads = jax.grad(total)({name: jnp.ones((2, 1))})
    assert grads[name].ravel().tolist() == [0.0, 1000.0]


def test_a_master_gathers_updates_that_bfloat16_would_lose() -> None:
    layer = r.mixed_precision(r.linear(1, bias=False))
    optimizer = optax.sgd(1e-3)  # an update of 0.001 beside a weight of 1, whose unit is 1/128

    def after_a_hundred(w: jax.Array) -> Any:
        def step(params: Any, _: None) -> Any:
            def loss(params: Any) -> Any:
                return layer.apply(params, None, jnp.ones((1, 1)))[1].sum()

            grads = jax.grad(loss)(params)
            updates, _ = optimizer.update(grads, optimizer.init(params))
            return optax.apply_updates(params, updates), None

        return jax.lax.scan(step, {"w": w}, None, length=100)[0]["w"]

    one = jnp.ones((1, 1))
    np.testing.assert_allclose(after_a_hundred(one), 0.9, rtol=1e-5)
    assert float(after_a_hundred(one.astype(jnp.bfloat16))[0, 0]) == 1.0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_rows_that_a_batch_uses_are_updated_alone(reduction: Any) -> None:
    loss = partial(r.cross_entropy, reduction=reduction)
    batch = r.Batch(TOKENS[:-1] % 3, TOKENS[1:])
    results = []
    for optimizer in (r.sgd(0.1), optax.sgd(0.1)):
        state = r.init_train_state(NARROW, optimizer, PARAMS)
        state, _ = jax.jit(r.make_train_step(NARROW, optimizer, loss=loss))(state, batch)
        results.append(jax.tree.map(lambda new, old: new - old, state.params, PARAMS))
    rows, dense = results
    assert dtypes(rows) == FLOAT32
    assert not rows["embedding"][3:].any() and rows["embedding"][:3].any()
    # One is rounded before it is summed, the other after.
    assert_close(rows, dense, rtol=2**-7)


def test_training_evaluation_and_generation() -> None:
    """The compiled loop, whose state is donated, beside that of float32."""
    data = r.Windows(jnp.tile(TOKENS[None, :-1], (4, 1, 1)), jnp.tile(TOKENS[None, 1:], (4, 1, 1)))
    optimizer = optax.adam(0.02)
    losses = {}
    for model in (LM, NARROW):
        params = jax.tree.map(jnp.copy, PARAMS)
        state = r.init_train_state(model, optimizer, params, batch_shape=(B,))
        train = r.make_train_steps(r.make_train_step(model, optimizer))
        before, _ = r.make_evaluate(model)(state.params, data, state.carry)
        for _ in range(10):
            state, _ = train(state, data, 0, data.count)
        after, tokens = r.make_evaluate(model)(state.params, data, state.carry)
        assert dtypes((state.params, state.opt_state[0].mu, state.carry, after)) == FLOAT32
        assert int(tokens) == 4 * T * B and after < 0.7 * before
        losses[model] = float(after)
    np.testing.assert_allclose(losses[NARROW], losses[LM], rtol=0.03)

    options: Any = {"length": 6, "key": jax.random.key(0)}
    written = [
        r.generate(NARROW, params, None, TOKENS[:1], **options)[1]
        for params in (state.params, NARROW.rounded(state.params))
    ]
    np.testing.assert_array_equal(written[0], written[1])
    streamed = r.stream(NARROW, NARROW.rounded(state.params), None, TOKENS[:1], key=options["key"])
    assert len(list(itertools.islice(streamed, 3))) == 3


def test_a_carry_comes_back_as_it_was_handed_in() -> None:
    carry = NARROW.initial_carry((B,), PARAMS)
    for given in (carry, carry.astype(jnp.bfloat16), None):
        new, _ = NARROW.apply(PARAMS, given, TOKENS)
        assert new.dtype == (jnp.float32 if given is None else given.dtype)
    carries, _ = NARROW.carries(PARAMS, carry, TOKENS)
    assert carries.dtype == jnp.float32 and carries.shape == (T + 1, B, 4)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda p: p.astype(float), PARAMS)
        carry = NARROW.initial_carry((B,), wide)
        new, logits = NARROW.apply(wide, carry, TOKENS)
        assert carry.dtype == new.dtype == logits.dtype == jnp.float32
        grads = jax.grad(lambda p: NARROW.apply(p, None, TOKENS)[1].sum())(wide)
        assert dtypes(grads) == {jnp.dtype("float64")}


def test_resets_masks_and_pieces() -> None:
    resets = jnp.zeros((T + 1, B), bool).at[2].set(True)
    carry, whole = NARROW.apply(PARAMS, None, TOKENS, resets=resets)
    last, second = NARROW.apply(PARAMS, None, TOKENS[2:])
    np.testing.assert_allclose(whole[2:], second, atol=1e-6)
    np.testing.assert_allclose(carry, last, atol=1e-6)
    first, _ = NARROW.apply(PARAMS, None, TOKENS[:2])
    held, _ = NARROW.apply(PARAMS, first, TOKENS, mask=jnp.zeros((T + 1, B), bool))
    np.testing.assert_array_equal(first, held)


def test_gradient_flow_reads_it() -> None:
    flow = gradient_flow(r.truncate(NARROW, r.sliding(1)), PARAMS, None, TOKENS)
    assert (flow.mean > 0).tolist() == [True, True, False, False, False, False]


def test_it_is_a_value() -> None:
    assert r.mixed_precision(LM) == NARROW and hash(r.mixed_precision(LM)) == hash(NARROW)
    assert r.mixed_precision(LM, "bfloat16") == NARROW != LM
    assert "bfloat16" in repr(NARROW)
    layer = r.bidirectional(r.recurrent(r.gru(2)), r.recurrent(r.gru(3), reverse=True))
    mixed: Any = r.mixed_precision(layer)
    model: Any = LM
    assert NARROW.input_table == model.input_table and NARROW.output_size == V
    assert mixed.output_size == 5 and not mixed.causal and not mixed.reverse
    assert isinstance(mixed, r.Layer) and isinstance(NARROW, r.Model)


class Foreign:
    """A layer of somebody else's, by the protocol alone."""

    output_size, causal = 4, True

    def init(self, key: jax.Array, input_size: int) -> Any:
        return {"w": jax.random.normal(key, (input_size, 4))}

    def initial_carry(self, batch_shape: tuple[int, ...], params: Any = None) -> Any:
        return jnp.zeros((*batch_shape, 4))

    def apply(
        self, params: Any, carry: Any, xs: Any, *, mask: Any = None, key: Any = None, start: Any = 0
    ) -> Any:
        assert params["w"].dtype == xs.dtype == jnp.bfloat16
        ys = xs @ params["w"]
        return carry + ys.sum(0), ys


def test_a_layer_of_another_class() -> None:
    foreign: Any = Foreign()
    layer: Any = r.mixed_precision(foreign)
    params = layer.init(jax.random.key(0), 3)
    carry = layer.initial_carry((B,), params)
    new, ys = layer.apply(params, carry, jnp.ones((T, B, 3)))
    assert new.dtype == ys.dtype == jnp.float32
    carries, _ = layer.carries(params, carry, jnp.ones((T, B, 3)))
    np.testing.assert_allclose(carries[-1], new, rtol=0.02)


@pytest.mark.parametrize("mode", ["strict dtypes", "no jit"])
def test_modes_of_jax(mode: str) -> None:
    stack = r.serial(r.recurrent(r.lstm(3)), r.residual(r.recurrent(r.gru(3, reset="before"))))
    model: Any = r.mixed_precision(r.language_model(V, stack))
    params = model.init(jax.random.key(0))

    def loss(params: Any) -> Any:
        return r.cross_entropy(model.apply(params, None, TOKENS[:-1])[1], TOKENS[1:])

    expected = jax.grad(loss)(params)
    with jax.numpy_dtype_promotion("strict") if mode == "strict dtypes" else jax.disable_jit():
        assert_close(jax.grad(loss)(params), expected, rtol=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: r.mixed_precision(LM, jnp.float16), "small gradients vanish unless the loss is s"),
        (lambda: r.mixed_precision(LM, "float32"), "float32 is what a model has without it"),
        (lambda: r.mixed_precision(LM, jnp.float64), "takes the dtype bfloat16, not float64"),
        (lambda: r.mixed_precision(LM, int), "takes the dtype bfloat16, not int"),
        (lambda: r.mixed_precision(LM, "half a byte"), "takes the dtype bfloat16, not 'half a byt"),
        (lambda: r.mixed_precision(r.gru(3)), "takes a layer or model, not .*wrap a cell"),  # type: ignore[call-overload]
        (lambda: jax.jvp(lambda p: NARROW.apply(p, None, TOKENS), (PARAMS,), (PARAMS,)), "reverse"),
    ],
)  # fmt: skip
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
