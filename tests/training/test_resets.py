"""Documents in one stream: with resets, training and evaluation are those of each by itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from rnn_jax.training.batches import consecutive, covering, stacked
from tests.cases import assert_close, quick_jit
from tests.training.test_training import B, T, V, params_of

pytestmark = pytest.mark.usefixtures("x64")

MODEL = r.language_model(V, r.serial(r.recurrent(r.gru(4)), r.recurrent(r.elman(3))))
IDS = np.random.default_rng(0).integers(0, V, 41)
BEGINS = [0, 3, 11, 12, 22]  # one document of a single token; cuts of windows are elsewhere


def nats(model: Any, params: Any, ids: np.ndarray, cuts: list[int]) -> Any:
    """The summed loss of all targets, each part between two cuts read from the initial carry."""
    total: Any = 0.0
    for begin, end in pairwise([*cuts, len(ids) - 1]):
        part = jnp.asarray(ids[begin : end + 1])
        logits = model.apply(params, None, part[:-1])[1]
        total += r.cross_entropy(logits, part[1:], reduction="sum")
    return total


@pytest.mark.parametrize("optimizer", [r.sgd(0.1), optax.sgd(0.1), optax.adam(0.1)])
@pytest.mark.parametrize("kind", [r.full(), r.sliding(1), r.sliding(3)], ids=str)
def test_a_step_on_a_stream_is_that_on_its_documents(kind: Any, optimizer: Any) -> None:
    model = r.truncate(MODEL, kind)
    params = params_of(model)
    data = consecutive(IDS, 1, 40, begins=BEGINS)
    batch = r.Batch(data.inputs[0], data.targets[0], resets=data.resets[0])  # type: ignore[index]
    state = r.init_train_state(model, optimizer, params, batch_shape=(1,))
    stale = state._replace(carry=jax.tree.map(lambda c: c + 7, state.carry))
    new, metrics = quick_jit(r.make_train_step(model, optimizer), ())(stale, batch)

    def loss(params: Any) -> Any:
        return nats(model, params, IDS, BEGINS) / 40

    value, grads = jax.value_and_grad(loss)(params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    assert_close(metrics["loss"], value, rtol=1e-12)
    assert_close(new.params, optax.apply_updates(params, updates), rtol=1e-9)


@pytest.mark.parametrize("kind", [r.chunked(3), r.tail(4), r.randomized(0.5)], ids=str)
def test_other_truncations_get_the_resets(kind: Any) -> None:
    model, key = r.truncate(MODEL, kind), jax.random.key(3)
    params = params_of(model)
    data = consecutive(IDS, B, T, begins=BEGINS)
    x, y, resets = (part[1] for part in (data.inputs, data.targets, data.resets))  # type: ignore[index]

    def loss(params: Any) -> Any:
        return r.cross_entropy(model.apply(params, None, x, resets=resets, key=key)[1], y)

    state = r.init_train_state(model, optax.sgd(1.0), params)
    step = quick_jit(r.make_train_step(model, optax.sgd(1.0)), ())
    new, _ = step(state, r.Batch(x, y, resets=resets), key=key)
    updated = jax.tree.map(jnp.subtract, params, jax.grad(loss)(params))
    assert_close(new.params, updated, rtol=1e-9)


@pytest.mark.parametrize("cut", [consecutive, covering])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("as_flags", [False, True])
def test_evaluation_reads_each_document_by_itself(
    cut: Callable[..., r.Windows], rows: int, as_flags: bool
) -> None:
    params = params_of(MODEL)
    begins: Any = np.isin(np.arange(41), BEGINS) if as_flags else BEGINS
    data = cut(IDS, rows, T, begins=begins)
    carry = MODEL.initial_carry((data.batch_size,), params)
    total, tokens = r.make_evaluate(MODEL)(params, data, carry)
    used = int(tokens)
    assert used == {consecutive: rows * (40 // rows // T) * T, covering: 40}[cut]
    rows_begin = used * np.arange(rows) // rows
    expected = nats(MODEL, params, IDS[: used + 1], sorted({*BEGINS, *rows_begin.tolist()}))
    np.testing.assert_allclose(total, expected, rtol=1e-12)
    without, _ = r.make_evaluate(MODEL)(params, cut(IDS, rows, T), carry)
    assert abs(without - expected) > 1e-3


def test_compiled_loops_are_single_steps() -> None:
    optimizer = optax.adam(0.01)
    step = r.make_train_step(MODEL, optimizer)
    data = consecutive(IDS, B, T, begins=BEGINS)
    assert data.resets is not None and data.resets.any()

    def begin() -> Any:
        return r.init_train_state(MODEL, optimizer, params_of(MODEL), batch_shape=(B,))

    state = begin()
    for i in range(data.count):
        batch = r.Batch(data.inputs[i], data.targets[i], resets=data.resets[i])
        state, _ = quick_jit(step, ())(state, batch)
    looped, _ = r.make_train_steps(step)(begin(), data, 0, data.count)  # its state is donated
    assert_close(looped, state, rtol=1e-9)
    other, _ = r.make_train_steps(step)(begin(), consecutive(IDS, B, T), 0, data.count)
    leaves = zip(*map(jax.tree.leaves, (other.params, state.params)), strict=True)
    assert not all(np.allclose(a, b) for a, b in leaves)


def test_batches_that_are_missing_have_no_resets() -> None:
    pair, resets = (np.ones((T, B), int), np.ones((T, B), int)), np.ones((T, B), np.int32)
    data = stacked([pair], 3, resets=[resets])
    assert data.resets is not None and data.resets.dtype == bool
    assert data.resets.sum(axis=(1, 2)).tolist() == [T * B, 0, 0]
    assert data.inputs.sum(axis=(1, 2)).tolist() == [T * B, 0, 0]


class Mean:
    """A model of somebody's own, which has never heard of resets."""

    output_size, causal = V, True

    def init(self, key: Any) -> Any:
        return {"w": jnp.ones(V)}

    def initial_carry(self, batch_shape: Any, params: Any = None) -> Any:
        return ()

    def apply(
        self, params: Any, carry: Any, xs: Any, *, mask: Any = None, key: Any = None
    ) -> tuple[Any, Any]:
        return carry, jax.nn.one_hot(xs, V) * params["w"][None, None]


X = jnp.asarray(IDS[: T * B].reshape(T, B))
NO_RESETS = jnp.zeros((T, B), bool)


@pytest.mark.parametrize(
    ("model", "resets", "message"),
    [
        (MODEL, NO_RESETS.astype(int), "the resets must be boolean, not int"),
        (MODEL, NO_RESETS[:-1], r"the resets have shape \(3, 3\), but the inputs have steps"),
        (MODEL, NO_RESETS[:, 0], r"the resets have shape \(4,\)"),
        (Mean(), NO_RESETS, "the apply of Mean takes no resets: add resets=None"),
    ],
)
def test_resets_that_do_not_fit_are_refused(model: Any, resets: Any, message: str) -> None:
    state = r.init_train_state(model, optax.sgd(0.1), model.init(jax.random.key(0)))
    step = r.make_train_step(model, optax.sgd(0.1))
    for run in (step, jax.jit(step)):
        with pytest.raises(ValueError, match=message):
            run(state, r.Batch(X, X, resets=resets))
    with pytest.raises(ValueError, match=message):
        r.make_evaluate(model)(state.params, r.Windows(X[None], X[None], resets=resets[None]))
    step(state, r.Batch(X, X))


def test_layers_inside_and_decoders_refuse_resets() -> None:
    class Layer(Mean):
        def init(self, key: Any, *size: int) -> Any:
            return super().init(key)

    layer: Any = Layer()
    model = r.language_model(V, layer)
    params = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match="the apply of Layer takes no resets"):
        model.apply(params, None, X, resets=NO_RESETS)
    with pytest.raises(ValueError, match="the apply of Layer takes no gradient_scale"):
        r.truncate(model, r.chunked(2)).apply(params, None, X)
    decoder = r.language_model(V, r.recurrent(r.gru(3)))
    translator = r.encoder_decoder(V, r.recurrent(r.gru(3)), decoder)
    params = translator.init(jax.random.key(0))
    carry = translator.encode(params, X)
    with pytest.raises(ValueError, match="has nothing to reset to"):
        translator.apply(params, carry, X, resets=NO_RESETS)


@pytest.mark.parametrize("name", ["targets", "mask", "resets"])
def test_windows_hold_as_many_batches_of_each(name: str) -> None:
    good = {"targets": X, "mask": ~NO_RESETS, "resets": NO_RESETS}
    arrays = {key: jnp.stack([array] * 2) for key, array in good.items()}
    data = r.Windows(jnp.stack([X] * 2), **{**arrays, name: arrays[name][:1]})
    with pytest.raises(ValueError, match=f"the {name} of shape .* not of 2 batches"):
        r.make_evaluate(MODEL)(params_of(MODEL), data)


@pytest.mark.parametrize("cut", [consecutive, covering])
@pytest.mark.parametrize(
    "begins",
    [[3, 1], [0, 0], [-1, 3], [0, 41], [0.0, 2.0], [[0, 3]], [0, 1] * 20 + [0], np.ones(40, bool),
     np.array([5, 3], np.uint8)],
)  # fmt: skip
def test_begins_that_mark_no_tokens_are_refused(cut: Any, begins: Any) -> None:
    with pytest.raises(ValueError, match="begins must be increasing positions among 41 tokens, or"):
        cut(IDS, 1, 4, begins=begins)
    assert not cut(IDS, 1, 4, begins=[]).resets.any()
