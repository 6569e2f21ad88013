"""Models with an adaptive softmax: trained, evaluated, written with, saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from rnn_jax.interop import load_params, save_params
from rnn_jax.training import consecutive
from tests.cases import QUICK, assert_close

V = 30
SOFTMAX = r.adaptive_softmax([4, 12], factor=2.0)
LAYER = r.recurrent(r.gru(8))
MODEL = r.language_model(V, LAYER, embedding_size=6, readout=SOFTMAX)
# By Zipf's law, each token depending on the one before.
STREAM = np.cumsum(np.random.default_rng(0).zipf(1.5, 1200) % 7) % V
DATA = consecutive(STREAM, batch_size=4, seq_length=6)
SOURCE = jnp.asarray(np.random.default_rng(1).integers(0, 9, (4, 5)))
TRANSLATOR = r.encoder_decoder(9, r.serial(r.embedding(3), LAYER), MODEL)
MODELS: dict[str, Any] = {
    "plain": MODEL,
    "no bias": r.language_model(V, LAYER, bias=False, readout=SOFTMAX),
    "chunked": r.truncate(MODEL, r.chunked(2)),
    "tail": r.truncate(MODEL, r.tail(2)),
    "sliding": r.truncate(MODEL, r.sliding(1)),
    "bfloat16": r.mixed_precision(MODEL),
    "encoder-decoder": TRANSLATOR,
}

compiled = partial(jax.jit, compiler_options=QUICK)


def batch(masked: bool = True) -> r.Batch:
    inputs, targets = (jnp.asarray(x) for x in np.random.default_rng(2).integers(0, V, (2, 6, 5)))
    mask = r.length_mask(jnp.array([6, 3, 0, 1, 5]), 6)
    return r.Batch(inputs, targets, mask if masked else None)


def of_logits(logits: Any, targets: Any, /, *, mask: Any) -> Any:
    """A loss that is not known to be `cross_entropy`, and so takes the model's outputs."""
    return r.cross_entropy(logits, targets, mask=mask)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", MODELS)
def test_steps_are_those_by_all_logits_and_lower_the_loss(name: str) -> None:
    model, data = MODELS[name], batch()
    data = data._replace(source=SOURCE) if model is TRANSLATOR else data
    params = jax.tree.map(lambda p: p.astype(float), model.init(jax.random.key(0)))
    optimizer = optax.adam(0.05)
    losses, states = [], []
    for loss in (r.cross_entropy, of_logits):
        step = compiled(r.make_train_step(model, optimizer, loss=loss))
        state = r.init_train_state(model, optimizer, params)
        found = []
        for _ in range(4):
            state, metrics = step(state, data)
            found.append(metrics["loss"])
        losses.append(found)
        states.append(state.params)
    rtol = 2e-2 if name == "bfloat16" else 1e-9
    np.testing.assert_allclose(losses[0], losses[1], rtol=rtol)
    assert losses[0][-1] < losses[0][0] - 0.1
    if name != "bfloat16":
        assert_close(states[0], states[1], rtol=1e-7)


@pytest.mark.usefixtures("x64")
def test_evaluation_is_exact() -> None:
    params = MODEL.init(jax.random.key(0))
    total, count = r.make_evaluate(MODEL)(params, DATA)
    inputs, targets = (
        jnp.swapaxes(x, 0, 1).reshape(x.shape[1], -1) for x in (DATA.inputs, DATA.targets)
    )
    _, logits = MODEL.apply(params, None, inputs)
    expected = r.cross_entropy(logits, targets)
    np.testing.assert_allclose(total / count, expected, rtol=1e-12)


def test_fit_learns_and_what_it_learned_is_written_and_saved(tmp_path: Path) -> None:
    optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=0.03)
    params = MODEL.init(jax.random.key(0))
    state, history = r.fit(MODEL, optimizer, DATA, epochs=4, params=params, validation=DATA)
    losses = [row["loss"] for row in history.rows]
    assert losses[-1] < losses[0] - 0.8
    learned = state.params
    save_params(tmp_path / "p.safetensors", learned)
    assert_close(load_params(tmp_path / "p.safetensors", like=params), learned, rtol=0)
    assert_close(load_params(tmp_path / "p.safetensors"), learned, rtol=0)

    first = jnp.array([[0, 5, 20]])
    _, tokens = r.generate(
        MODEL, learned, None, first, length=6, key=jax.random.key(1), temperature=0
    )
    read = jnp.concatenate([first, tokens])
    _, log_probs = MODEL.apply(learned, None, read[:-1])
    np.testing.assert_array_equal(tokens, log_probs.argmax(axis=-1))
    beams, scores = r.beam_search(MODEL, learned, None, first, beams=3, length=4)
    for beam in range(3):
        read = jnp.concatenate([first, beams[..., beam]])
        _, log_probs = MODEL.apply(learned, None, read[:-1])
        picked = jnp.take_along_axis(log_probs, read[1:, :, None], axis=-1)[..., 0]
        np.testing.assert_allclose(scores[:, beam], picked.sum(axis=0), rtol=1e-5)
