"""Sampled softmax beside the softmax of all words, and beside a loop over rows and samples."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from rnn_jax.models.sampled_softmax import log_uniform, log_uniform_probability
from rnn_jax.models.softmax import Drawn
from tests.cases import QUICK

WORDS, SIZE = 11, 3
KEY = jax.random.key(3)
LAYER = r.recurrent(r.gru(SIZE))


def case(words: int = WORDS, *, bias: bool = True, rows: tuple[int, ...] = (4, 2)) -> Any:
    """Parameters, features and targets of a read-out, in float64 where that is switched on."""
    rng = np.random.default_rng(0)
    params = {"w": jnp.asarray(rng.normal(size=(words, SIZE)))}
    if bias:
        params["b"] = jnp.asarray(rng.normal(size=words))
    features = jnp.asarray(rng.normal(size=(*rows, SIZE)))
    return params, features, jnp.asarray(rng.integers(0, words, rows))


def by_loops(params: Any, features: Any, targets: Any, drawn: Drawn, samples: int) -> np.ndarray:
    """The losses ``[N]``, row by row and sample by sample."""
    w, b = np.asarray(params["w"]), np.asarray(params.get("b", np.zeros(len(params["w"]))))
    losses = []
    for h, y in zip(np.asarray(features).reshape(-1, SIZE), np.ravel(targets), strict=True):
        own = np.exp(h @ w[y] + b[y])
        total = own
        for k in np.asarray(drawn.ids[-samples:]):
            chance = np.log((k + 2) / (k + 1)) / np.log(len(w) + 1)
            total += (k != y) * np.exp(h @ w[k] + b[k]) / (samples * chance)
        losses.append(np.log(total / own))
    return np.array(losses)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rows", [(4, 2), (1, 1), (0, 2), (5,)])
@pytest.mark.parametrize("samples", [1, 7, WORDS])
@pytest.mark.parametrize("bias", [True, False])
def test_the_loss_of_the_words_drawn_is_a_loops(
    bias: bool, samples: int, rows: tuple[int, ...]
) -> None:
    params, features, targets = case(bias=bias, rows=rows)
    readout = r.sampled_softmax(samples)
    drawn = readout.draw(KEY, targets, None, WORDS)
    got = readout.loss(params, features, targets, drawn=drawn, reduction="none")
    want = by_loops(params, features, targets, drawn, samples).reshape(rows)
    # The chances are float32.
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
    total = readout.loss(params, features, targets, drawn=drawn, reduction="sum")
    np.testing.assert_allclose(total, np.sum(got), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_its_normaliser_has_that_of_all_words_as_its_mean() -> None:
    params, features, targets = case()
    readout = r.sampled_softmax(4)

    def parts(key: Any) -> Any:
        drawn = readout.draw(key, targets, None, WORDS)
        return jnp.exp(readout.loss(params, features, targets, drawn=drawn, reduction="none"))

    # The loss is log(Z / e^{s_y}).
    several = jax.jit(jax.vmap(parts), compiler_options=QUICK)(jax.random.split(KEY, 20_000))
    exact = jnp.exp(readout.loss(params, features, targets, reduction="none"))
    error = several.std(0) / np.sqrt(len(several))
    assert (abs(several.mean(0) - exact) < 4.5 * error).all()


@pytest.mark.usefixtures("x64")
def test_very_many_samples_have_the_loss_and_gradients_of_all_words() -> None:
    params, features, targets = case()
    readout, samples = r.sampled_softmax(200_000), 200_000  # more than a model would take
    drawn = readout.draw(KEY, targets, None, WORDS)
    exact = jax.value_and_grad(lambda p, h: readout.loss(p, h, targets), (0, 1))
    sampled = jax.value_and_grad(lambda p, h: readout.loss(p, h, targets, drawn=drawn), (0, 1))
    got, want = sampled(params, features), exact(params, features)
    # A share of 1 / log(12) · 1/12 of the samples at the least is of one word: its weight is off by
    # 1 / √(200,000 · 0.033) = 1.2 % at one standard deviation.
    assert samples * log_uniform_probability(jnp.array(WORDS - 1), WORDS) > 6600
    largest = max(abs(leaf).max() for leaf in jax.tree.leaves(want[1]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.04 * largest), got, want)


def test_words_are_drawn_as_often_as_the_formula_says() -> None:
    count = 400_000
    chances = log_uniform_probability(jnp.arange(WORDS), WORDS)
    np.testing.assert_allclose(chances.sum(), 1, rtol=1e-6)
    found = np.bincount(np.asarray(log_uniform(KEY, count, WORDS)), minlength=WORDS) / count
    assert (abs(found - chances) < 5 * np.sqrt(chances / count)).all()


def test_rare_words_of_a_large_vocabulary_are_drawn_too() -> None:
    words = 262_144
    drawn = np.asarray(log_uniform(KEY, 2_000_000, words))
    assert drawn.min() == 0 and drawn.max() < words
    rare = drawn[drawn >= words // 2]
    chance = float(np.log(2) / np.log(words + 1))
    np.testing.assert_allclose(len(rare) / len(drawn), chance, rtol=0.02)
    # By one draw of 23 bits half of these words would never come, and others twice as often.
    expected = len(rare) / (words // 2)
    assert np.unique(rare).size / (words // 2) > 0.95 * (1 - np.exp(-expected))


@pytest.mark.usefixtures("x64")
def test_masked_steps_reach_nothing() -> None:
    params, features, targets = case()
    mask = jnp.arange(4)[:, None] < jnp.array([[4, 2]])
    dirty = jnp.where(mask[..., None], features, jnp.nan), jnp.where(mask, targets, -7)
    clean = jnp.where(mask[..., None], features, 0), jnp.where(mask, targets, 0)
    readout = r.sampled_softmax(5)

    def loss(params: Any, features: Any, targets: Any) -> Any:
        drawn = readout.draw(KEY, targets, mask, WORDS)
        return readout.loss(params, features, targets, mask=mask, drawn=drawn)

    got = jax.value_and_grad(loss, (0, 1))(params, *dirty)
    want = jax.value_and_grad(loss, (0, 1))(params, *clean)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    rows = features[mask][None], targets[mask][None]
    drawn = readout.draw(KEY, rows[1], None, WORDS)
    np.testing.assert_allclose(got[0], readout.loss(params, *rows, drawn=drawn), rtol=1e-12)


def test_targets_outside_the_vocabulary_are_refused_or_nan() -> None:
    model = r.language_model(WORDS, LAYER, readout=r.sampled_softmax(4))
    for optimizer in (r.sgd(0.1), optax.adam(0.1)):
        state = r.init_train_state(model, optimizer, model.init(KEY))
        step = r.make_train_step(model, optimizer)
        for bad in (-1, WORDS):
            batch = r.Batch(jnp.zeros((2, 1), int), jnp.array([[1], [bad]]))
            with pytest.raises(ValueError, match=r"target .* outside the vocabulary"):
                step(state, batch, key=KEY)
            _, metrics = jax.jit(step, compiler_options=QUICK)(state, batch, key=KEY)
            assert np.isnan(metrics["loss"])


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="draws more words than the 11 of the vocabulary"):
        r.language_model(WORDS, LAYER, readout=r.sampled_softmax(12))
    with pytest.raises(ValueError, match="samples must be"):
        r.sampled_softmax(0)
    with pytest.raises(ValueError, match="leave out tied or readout"):
        r.language_model(WORDS, LAYER, embedding_size=SIZE, tied=True, readout=r.sampled_softmax(2))
    with pytest.raises(ValueError, match="readout must be an adaptive_softmax or"):
        r.language_model(WORDS, LAYER, readout=5)  # type: ignore[arg-type]
    model = r.language_model(WORDS, LAYER, readout=r.sampled_softmax(4))
    optimizer, batch = r.sgd(0.1), r.Batch(jnp.zeros((2, 1), int), jnp.ones((2, 1), int))
    state = r.init_train_state(model, optimizer, model.init(KEY))
    with pytest.raises(ValueError, match=r"sampled_softmax\(4\) draws noise, but the step has no"):
        r.make_train_step(model, optimizer)(state, batch)

    step = r.make_train_step(model, optimizer, loss=partial(r.cross_entropy, label_smoothing=0.1))
    with pytest.raises(ValueError, match="label smoothing is over all words"):
        step(state, batch, key=KEY)
    with pytest.raises(ValueError, match="must be token ids"):
        r.make_train_step(model, optimizer)(
            state, batch._replace(targets=jnp.ones((2, 1))), key=KEY
        )


def test_everything_but_a_training_step_is_of_all_words() -> None:
    params: Any
    model = r.language_model(WORDS, LAYER, embedding_size=2, readout=r.sampled_softmax(2))
    full = r.language_model(WORDS, LAYER, embedding_size=2)
    params = model.init(KEY)
    assert params["readout"]["w"].shape == (WORDS, SIZE)
    same = {**params, "readout": {**params["readout"], "w": params["readout"]["w"].T}}
    tokens = jnp.arange(8).reshape(4, 2)
    logits = model.apply(params, None, tokens)[1]
    np.testing.assert_allclose(logits, full.apply(same, None, tokens)[1], rtol=1e-6)
    data = r.Windows(tokens[None, :-1], tokens[None, 1:])
    found = [r.make_evaluate(m)(p, data) for m, p in ((model, params), (full, same))]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    drawn = [
        r.generate(m, p, None, tokens[:1], length=6, key=KEY)[1]
        for m, p in ((model, params), (full, same))
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    # So is training without noise.
    batch, optimizer = r.Batch(tokens[:-1], tokens[1:]), r.sgd(0.5)
    steps = [
        r.make_train_step(m, optimizer, noise=False)(r.init_train_state(m, optimizer, p), batch)
        for m, p in ((model, params), (full, same))
    ]
    np.testing.assert_allclose(steps[0][1]["loss"], steps[1][1]["loss"], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_learns(dtype: Any) -> None:
    model: Any = r.language_model(
        200, r.recurrent(r.gru(16)), embedding_size=8, readout=r.sampled_softmax(20)
    )
    if dtype != "float32":
        model = r.mixed_precision(model, dtype)
    tokens = jnp.tile(jnp.arange(20) * 9, 5)[:, None].repeat(2, 1)
    batch = r.Batch(tokens[:-1], tokens[1:])
    optimizer = r.lazy(optax.adam(0.02))
    state = r.init_train_state(model, optimizer, model.init(KEY))
    data = r.Windows(batch.inputs[None].repeat(150, 0), batch.targets[None].repeat(150, 0))
    evaluate = r.make_evaluate(model)
    before = evaluate(state.params, r.Windows(data.inputs[:1], data.targets[:1]))
    run = r.make_train_steps(r.make_train_step(model, optimizer))
    state, _ = run(state, data, 0, 150, KEY)
    after = evaluate(state.params, r.Windows(data.inputs[:1], data.targets[:1]))
    assert float(before[0] / before[1]) > 5 and float(after[0] / after[1]) < 0.5
