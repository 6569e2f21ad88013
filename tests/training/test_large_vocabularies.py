"""Steps whose logits are never held beside steps that hold them, in float64."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from rnn_jax.losses import chunked
from rnn_jax.training.objective import make_objective
from tests.cases import CAUSAL, QUICK, SIZE, Case

pytestmark = pytest.mark.usefixtures("x64")

WORDS = 11
LAYER = r.recurrent(r.gru(4))
SMOOTHED = partial(r.cross_entropy, label_smoothing=0.2)
SUMMED = partial(r.cross_entropy, reduction="sum")
MODELS: dict[str, Any] = {
    "one-hot": r.language_model(WORDS, LAYER),
    "embedding, no bias": r.language_model(WORDS, LAYER, embedding_size=3, bias=False),
    "tied": r.language_model(WORDS, LAYER, embedding_size=4, tied=True),
    "truncated": r.truncate(r.language_model(WORDS, LAYER), r.chunked(2)),
    "tail": r.truncate(r.language_model(WORDS, LAYER), r.tail(2)),
    "tagger": r.sequence_tagger(WORDS, LAYER, input_size=WORDS),
    "encoder-decoder": r.encoder_decoder(
        WORDS, r.recurrent(r.gru(4)), r.language_model(WORDS, LAYER)
    ),
}


def batch(masked: bool, source: bool) -> r.Batch:
    rng = np.random.default_rng(0)
    inputs, targets, read = (jnp.asarray(a) for a in rng.integers(0, WORDS, (3, 5, 3)))
    mask = jnp.asarray(rng.random((5, 3)) < 0.7) if masked else None
    return r.Batch(inputs, targets, mask, source=read if source else None)


def trained(model: Any, optimizer: Any, data: r.Batch, **options: Any) -> Any:
    """The state after three steps, and their losses."""
    params = jax.tree.map(lambda p: p.astype(float), model.init(jax.random.key(0)))
    state = r.init_train_state(model, optimizer, params)
    step = jax.jit(r.make_train_step(model, optimizer, **options), compiler_options=QUICK)
    losses = []
    for _ in range(3):
        state, metrics = step(state, data)
        losses.append(metrics["loss"])
    return state, losses


def in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_FEW_LOGITS": 0, "_MANY_LOGITS": 0, "_CHUNK": 4}.items():
        monkeypatch.setattr(chunked, name, value)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("optimizer", "masked", "options"),
    [
        (r.sgd(0.5), True, {}),
        (r.sgd(0.5), False, {"loss": SMOOTHED, "skip_nonfinite": True}),
        (r.sgd(0.05), True, {"loss": SUMMED}),
        (optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.5)), True, {"loss": SMOOTHED}),
    ],
)
def test_steps_without_logits_equal_those_with(
    monkeypatch: pytest.MonkeyPatch, name: str, optimizer: Any, masked: bool, options: Any
) -> None:
    model, data = MODELS[name], batch(masked, name == "encoder-decoder")
    expected = trained(model, optimizer, data, **options)
    in_chunks(monkeypatch)
    found = trained(model, optimizer, data, **options)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["one-hot", "tied"])
def test_a_step_that_is_not_finite_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    in_chunks(monkeypatch)
    model, optimizer = MODELS[name], r.sgd(0.5)
    params = model.init(jax.random.key(0))
    params["layer"] = jax.tree.map(lambda p: p.at[0].set(jnp.nan), params["layer"])
    state = r.init_train_state(model, optimizer, params)
    step = jax.jit(r.make_train_step(model, optimizer, skip_nonfinite=True))
    after, metrics = step(state, batch(False, False))
    assert metrics["skipped"]
    for one, other in zip(jax.tree.leaves(after.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_evaluation_holds_no_logits_either(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = MODELS["embedding, no bias"], batch(True, False)
    params = model.init(jax.random.key(0))
    windows = r.Windows(data.inputs[None], data.targets[None])
    expected = r.make_evaluate(model)(params, windows)
    in_chunks(monkeypatch)
    np.testing.assert_allclose(r.make_evaluate(model)(params, windows), expected, rtol=1e-12)


def test_plain_descent_never_holds_the_gradient_of_the_matrix() -> None:
    model = r.language_model(70_000, r.recurrent(r.elman(8)), embedding_size=8)
    tokens = jnp.zeros((10, 16), int)
    optimizer = r.sgd(0.5)

    def temporaries(optimizer: Any) -> int:
        params = jax.eval_shape(model.init, jax.random.key(0))
        state = jax.eval_shape(
            partial(r.TrainState, carry=None),
            params,
            jax.eval_shape(optimizer.init, params),
            step=jnp.zeros((), int),
        )
        step = jax.jit(r.make_train_step(model, optimizer), donate_argnums=0)
        memory = step.lower(state, r.Batch(tokens, tokens)).compile().memory_analysis()
        assert memory is not None
        return int(memory.temp_size_in_bytes)

    matrix, logits = 8 * 70_000 * 4, 160 * 70_000 * 4
    assert temporaries(optimizer) < logits / 3  # of a chunk: logits, exponentials, gradients
    assert temporaries(optimizer) < temporaries(optax.sgd(0.5)) - matrix / 2


@pytest.mark.parametrize("case", CAUSAL, ids=str)
def test_every_cell_and_layer_has_the_loss_and_gradients_of_all_logits(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks(monkeypatch)
    tagged = r.sequence_tagger(WORDS, case.member, input_size=SIZE)
    model: Any = case.member if case.model else tagged
    xs = case.inputs(4, (2,))
    mask = jnp.array([[True, True], [True, False], [True, True], [False, False]])
    rng = np.random.default_rng(0)
    classes = model.output_size or WORDS
    data = r.Batch(xs, jnp.asarray(rng.integers(0, classes, (4, 2))), mask)
    params = jax.tree.map(lambda p: p.astype(float), model.init(jax.random.key(0)))

    def all_logits(logits: Any, targets: Any, *, mask: Any) -> Any:
        return r.cross_entropy(logits, targets, mask=mask)

    def both(params: Any, key: Any) -> Any:
        found = []
        for loss in (r.cross_entropy, all_logits):
            measure = make_objective(model, loss)
            value: Any = lambda p, m=measure: m(p, None, data, key=key).loss  # noqa: E731
            found.append(jax.value_and_grad(value)(params))
        return found

    got, want = jax.jit(both, compiler_options=QUICK)(params, jax.random.key(1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), got, want)
