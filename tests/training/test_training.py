"""Training steps: sparse against dense, scanned against called, stateful against cut sequences."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from tests.cases import assert_close, quick_jit

pytestmark = pytest.mark.usefixtures("x64")

V, T, B = 11, 4, 3
ELMAN = r.recurrent(r.elman(4))
STACK = r.serial(ELMAN, r.recurrent(r.elman(3)))
NOISY = r.serial(ELMAN, r.dropout(0.5), r.recurrent(r.elman(3)))

MODELS: dict[str, Any] = {
    "plain": r.language_model(V, ELMAN),
    "stack": r.language_model(V, STACK),
    "embedding": r.language_model(V, ELMAN, embedding_size=3),
    "sliding": r.truncate(r.language_model(V, STACK), r.sliding(1)),
    "tail": r.truncate(r.language_model(V, ELMAN), r.tail(2)),
    "dropout": r.language_model(V, NOISY),
}


def params_of(model: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(0, 0.5, p.shape)), shapes)


def batch_of(seed: int, *, lengths: tuple[int, ...] | None = None, ids: int = V) -> r.Batch:
    inputs, targets = np.random.default_rng(seed).integers(0, ids, (2, T, B))
    mask = None if lengths is None else r.length_mask(jnp.array(lengths), T)
    if mask is not None:  # garbage in the padding
        inputs, targets = (np.where(mask, a, [[-7, 10**6, V]]) for a in (inputs, targets))
    return r.Batch(jnp.asarray(inputs), jnp.asarray(targets), mask)


@pytest.mark.parametrize("name", MODELS)
def test_sparse_sgd_equals_dense(name: str) -> None:
    """Repeated ids, garbage under the mask, rows that a batch never names."""
    model, key = MODELS[name], jax.random.key(5)
    states = []
    for optimizer in (r.sgd(0.5), optax.sgd(0.5)):
        step = quick_jit(r.make_train_step(model, optimizer), ())
        state = r.init_train_state(model, optimizer, params_of(model))
        for seed, lengths in ((0, (4, 0, 2)), (1, (1, 4, 3)), (2, (0, 0, 0))):
            # Three ids only, so that most positions repeat one.
            state, metrics = step(state, batch_of(seed, lengths=lengths, ids=3), key=key)
        states.append((state.params, metrics["loss"], state.step))
    assert_close(states[0], states[1], rtol=1e-12)  # sums in another order
    before = params_of(model)
    for entry in model.input_table:
        before, states[0] = before[entry], (states[0][0][entry], *states[0][1:])
    np.testing.assert_array_equal(states[0][0][3:], before[3:])
    assert not np.any(np.isclose(states[0][0][:3], before[:3], rtol=1e-9))


def test_sparse_sgd_without_a_mask_and_without_a_batch() -> None:
    model = MODELS["plain"]
    rng = np.random.default_rng(0)
    for shape in ((T, B), (T,), (0,)):
        batch = r.Batch(*(jnp.asarray(rng.integers(0, V, shape)) for _ in range(2)))
        new: list[Any] = []
        for optimizer in (r.sgd(0.5), optax.sgd(0.5)):
            state = r.init_train_state(model, optimizer, params_of(model))
            step = quick_jit(r.make_train_step(model, optimizer), ())
            new.append(step(state, batch)[0].params)
        assert_close(new[0], new[1], rtol=1e-12)


def test_bad_ids_are_never_another_row() -> None:
    model, optimizer = MODELS["plain"], r.sgd(0.5)
    step = r.make_train_step(model, optimizer)
    jitted = quick_jit(step, ())
    state = r.init_train_state(model, optimizer, params_of(model))
    good = batch_of(0)
    for bad in (-1, V):
        batch = good._replace(inputs=good.inputs.at[1, 1].set(bad))
        with pytest.raises(ValueError, match=f"token id {bad} lies outside the vocabulary of {V}"):
            step(state, batch)
        new, metrics = jitted(state, batch)
        assert np.isnan(metrics["loss"])
        assert np.isnan(new.params["readout"]["w"]).all()


def test_train_step_by_hand() -> None:
    model, batch = MODELS["plain"], batch_of(3, lengths=(4, 0, 2))
    params = params_of(model)

    def loss(params: Any) -> Any:
        _, logits = model.apply(params, None, batch.inputs, mask=batch.mask)
        return r.cross_entropy(logits, batch.targets, mask=batch.mask)

    value, grads = quick_jit(jax.value_and_grad(loss), ())(params)
    for optimizer in (r.sgd(0.1), optax.adam(0.1)):
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        state = r.init_train_state(model, optimizer, params)
        new, metrics = quick_jit(r.make_train_step(model, optimizer), ())(state, batch)
        assert_close(new.params, optax.apply_updates(params, updates), rtol=1e-12)
        assert_close(metrics["loss"], value)
        assert int(metrics["tokens"]) == 6 and int(new.step) == 1 and new.carry is None


# The carry between batches


def test_stateful_training_equals_chunked_truncation() -> None:
    """At fixed parameters (rate 0) the updates' gradients add up to those of the long sequence."""
    model, parts = MODELS["stack"], 3
    params = params_of(model)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, V, (parts * T + 1, B)))

    def summed(logits: Any, targets: Any, *, mask: Any) -> Any:
        return r.cross_entropy(logits, targets, mask=mask, reduction="sum")

    # The trace with decay 1 IS the sum of all gradients; the parameters stay.
    optimizer = optax.chain(optax.trace(decay=1.0), optax.scale(0.0))
    step = quick_jit(r.make_train_step(model, optimizer, loss=summed), ())
    state = r.init_train_state(model, optimizer, params, batch_shape=(B,))
    for i in range(parts):
        part = slice(i * T, (i + 1) * T)
        state, _ = step(state, r.Batch(ids[:-1][part], ids[1:][part]))

    chunked = r.truncate(model, r.chunked(T))

    def loss(params: Any) -> Any:
        carry, logits = chunked.apply(params, None, ids[:-1])
        return summed(logits, ids[1:], mask=None), carry

    grads, carry = quick_jit(jax.grad(loss, has_aux=True), ())(params)
    assert_close(state.opt_state[0].trace, grads)
    assert_close(state.carry, carry)
    assert_close(state.params, params)


def test_stateless_training_begins_anew() -> None:
    model, optimizer, batch = MODELS["plain"], optax.sgd(0.0), batch_of(0)
    step = quick_jit(r.make_train_step(model, optimizer), ())
    fresh = r.init_train_state(model, optimizer, params_of(model))
    kept = r.init_train_state(model, optimizer, params_of(model), batch_shape=(B,))
    losses = []
    for state in (fresh, kept):
        for _ in range(2):
            state, metrics = step(state, batch)
            losses.append(float(metrics["loss"]))
    assert losses[0] == losses[1] and np.isclose(losses[0], losses[2])
    assert not np.isclose(losses[2], losses[3])


# Many steps in one call


SENTENCES = [[0, 3, 4, 1], [0, 1], [0, 5, 6, 7, 8, 1], [0], [9, 1], [0, 2, 2, 10, 4, 1]]


def stream_of(batch_size: int = 1) -> r.SentenceStream:
    offsets = np.cumsum([0, *map(len, SENTENCES)])
    return r.sentence_stream(
        np.concatenate(SENTENCES), offsets, buckets=(2, 4, 7), batch_size=batch_size
    )


def test_a_sentence_a_step_in_order() -> None:
    model, optimizer = MODELS["plain"], r.sgd(0.5)
    step = r.make_train_step(model, optimizer)
    state = r.init_train_state(model, optimizer, params_of(model))
    run, once = r.make_train_steps(step), quick_jit(step, ())
    nats, tokens = 0.0, 0
    many = jax.tree.map(jnp.copy, state)  # donated
    for begin, end in ((0, 2), (2, 6)):
        many, (n, m) = run(many, stream_of(), begin, end)
        nats, tokens = nats + float(n), tokens + int(m)
    expected = 0.0
    for sentence in SENTENCES:
        x, y = (jnp.array(part, int)[:, None] for part in (sentence[:-1], sentence[1:]))
        state, metrics = once(state, r.Batch(x, y))
        expected += float(metrics["loss"]) * len(y)
    assert_close(many.params, state.params)
    assert int(many.step) == len(SENTENCES) and tokens == sum(len(s) - 1 for s in SENTENCES)
    np.testing.assert_allclose(nats, expected, rtol=1e-12)


def test_summed_losses_and_a_key_for_every_step() -> None:
    def summed(logits: Any, targets: Any, *, mask: Any) -> Any:
        return r.cross_entropy(logits, targets, mask=mask, reduction="sum")

    model, optimizer, key = MODELS["dropout"], r.sgd(0.1), jax.random.key(2)
    step = r.make_train_step(model, optimizer, loss=summed)
    state = r.init_train_state(model, optimizer, params_of(model))
    batches = [batch_of(i) for i in range(3)]
    data = r.Windows(
        jnp.stack([b.inputs for b in batches]), jnp.stack([b.targets for b in batches])
    )
    assert (data.count, data.batch_size) == (3, B)
    run = r.make_train_steps(step, summed=True)
    many, (nats, tokens) = run(jax.tree.map(jnp.copy, state), data, 0, 3, key)
    total, once = 0.0, quick_jit(step, ())
    for i, batch in enumerate(batches):
        state, metrics = once(state, batch, key=jax.random.fold_in(key, i))
        total += float(metrics["loss"])
    assert_close(many.params, state.params)
    np.testing.assert_allclose(nats, total, rtol=1e-12)
    assert int(tokens) == 3 * T * B


@pytest.mark.parametrize("batch_size", [1, 4])
def test_sentences_come_whole_padded_and_once(batch_size: int) -> None:
    data = stream_of(batch_size)

    def copy(state: Any, batch: r.Batch) -> Any:
        """Both sides padded to 8 by -1, and the length of the batch."""
        rest = ((0, 8 - len(batch.inputs)), (0, 0))
        assert batch.mask is not None
        sides = (jnp.where(batch.mask, side, -1) for side in (batch.inputs, batch.targets))
        padded = [jnp.pad(side, rest, constant_values=-1) for side in sides]
        return (*padded, jnp.array(len(batch.inputs)))

    nothing = jnp.zeros((8, batch_size), jnp.int32)
    collect = quick_jit(lambda i: data.visit(i, copy, (nothing, nothing, jnp.array(0))), ())
    seen, extents = [], []
    for i in range(data.count):
        *sides, extent = collect(jnp.array(i))
        extents.append(int(extent))
        for row in range(batch_size):
            seen.append(tuple(side[side[:, row] >= 0, row].tolist() for side in sides))
    expected = [(s[:-1], s[1:]) for s in SENTENCES]
    assert seen == expected + [([], [])] * (-len(expected) % batch_size)
    # The smallest bucket that the longest sentence of the batch fits.
    assert extents == {1: [4, 2, 7, 2, 2, 7], 4: [7, 7]}[batch_size]


def test_evaluate_equals_a_loop() -> None:
    model = MODELS["plain"]
    params, total = params_of(model), 0.0

    @partial(quick_jit, static=())
    def loss(params: Any, x: Any, y: Any) -> Any:
        return r.cross_entropy(model.apply(params, None, x)[1], y, reduction="sum")

    for sentence in SENTENCES:
        total += float(loss(params, jnp.array(sentence[:-1], int), jnp.array(sentence[1:], int)))
    evaluate = r.make_evaluate(model)
    for batch_size in (1, 4):
        nats, tokens = evaluate(params, stream_of(batch_size), None)
        np.testing.assert_allclose(nats, total, rtol=1e-12)
        assert int(tokens) == sum(len(s) - 1 for s in SENTENCES)


def test_evaluate_with_a_carry_reads_one_long_sequence() -> None:
    model, evaluate = MODELS["stack"], r.make_evaluate(MODELS["stack"])
    params = params_of(model)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, V, (3 * T + 1, B)))
    data = r.Windows(ids[:-1].reshape(3, T, B), ids[1:].reshape(3, T, B))
    nats, tokens = evaluate(params, data, model.initial_carry((B,), params))
    whole = r.cross_entropy(model.apply(params, None, ids[:-1])[1], ids[1:], reduction="sum")
    np.testing.assert_allclose(nats, whole, rtol=1e-12)
    assert int(tokens) == 3 * T * B
    assert not np.isclose(evaluate(params, data, None)[0], whole)


def test_learning_rate_is_part_of_the_state() -> None:
    model, optimizer, batch = MODELS["plain"], r.sgd(0.5), batch_of(0)
    step = quick_jit(r.make_train_step(model, optimizer), ())
    state = r.init_train_state(model, optimizer, params_of(model))
    assert float(optax.tree_utils.tree_get(state.opt_state, "learning_rate")) == 0.5
    slow = state._replace(opt_state=optax.tree_utils.tree_set(state.opt_state, learning_rate=0.25))
    assert float(optax.tree_utils.tree_get(slow.opt_state, "learning_rate")) == 0.25
    half, whole = step(slow, batch)[0].params, step(state, batch)[0].params
    jax.tree.map(
        lambda h, w, p: np.testing.assert_allclose(2 * (h - p), w - p, rtol=1e-9, atol=1e-13),
        half, whole, state.params,
    )  # fmt: skip
    assert isinstance(optimizer, r.PlainSGD)


@pytest.mark.parametrize(
    ("options", "message"),
    (
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"buckets": (2, 3)}, "a sentence of 4 steps exceeds the last bucket 3"),
        ({"buckets": (8, 4)}, r"buckets must be positive and increasing lengths, not \(8, 4\)"),
        ({"buckets": ()}, "buckets must be positive and increasing"),
        ({"buckets": (0, 8)}, "buckets must be positive and increasing"),
        ({"offsets": np.array([0])}, "there is no sentence to train on"),
    ),
)
def test_bad_streams(options: Any, message: str) -> None:
    whole = {"stream": np.arange(5), "offsets": np.array([0, 5]), "buckets": (4,)}
    with pytest.raises(ValueError, match=message):
        r.sentence_stream(**(whole | options))


def test_bfloat16_parameters_train_and_evaluate() -> None:
    model = r.language_model(7, r.recurrent(r.gru(3)))
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), model.init(jax.random.key(0)))
    state = r.init_train_state(model, optax.sgd(0.1), params)
    data = r.Windows(jnp.ones((2, 3, 2), int), jnp.ones((2, 3, 2), int))
    before, tokens = r.make_evaluate(model)(params, data)
    state, _ = r.make_train_steps(r.make_train_step(model, optax.sgd(0.1)))(state, data, 0, 2)
    after, _ = r.make_evaluate(model)(state.params, data)
    assert int(tokens) == 12
    assert float(after) < float(before)
    assert jax.tree.leaves(state.params)[0].dtype == jnp.bfloat16
