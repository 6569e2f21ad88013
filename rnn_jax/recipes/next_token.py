"""The many-to-one LSTM of Keras' text generation example, on Shakespeare."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnn_jax
from rnn_jax import text
from rnn_jax.types import Array, Params

SENTENCE, STRIDE, BATCH = 40, 3, 128


def many_to_one(vocab_size: int, hidden_size: int) -> rnn_jax.LanguageModel:
    """One LSTM over one-hot tokens and a dense read-out, of which only the last step counts."""
    return rnn_jax.language_model(vocab_size, rnn_jax.recurrent(rnn_jax.lstm(hidden_size)))


def last_step_loss(logits: Array, targets: Array, *, mask: Array | None = None) -> Array:
    """Cross-entropy of the last step's logits ``[T, B, V]`` against ``targets [B]``."""
    return rnn_jax.cross_entropy(logits[-1], targets)


def keras_parameters(key: Array, model: rnn_jax.LanguageModel) -> Params:
    """Fresh parameters as Keras draws them.

    Kernels Glorot-uniform, the recurrent kernel orthogonal, both over all four gates at once (in
    the order i, f, c, o, which is ours); biases zero, the forget gate's one.
    """
    shapes = jax.eval_shape(model.init, key)
    layer, readout = shapes["layer"], shapes["readout"]
    glorot, orthogonal = jax.nn.initializers.glorot_uniform(), jax.nn.initializers.orthogonal()
    keys = jax.random.split(key, 3)
    units = layer["w_hh"].shape[0]
    return {
        "layer": {
            "w_ih": glorot(keys[0], layer["w_ih"].shape),
            "w_hh": orthogonal(keys[1], layer["w_hh"].shape),
            "b": jnp.zeros(4 * units).at[units : 2 * units].set(1.0),
        },
        "readout": {"w": glorot(keys[2], readout["w"].shape), "b": jnp.zeros(model.vocab_size)},
    }


def keras_rmsprop(rate: float) -> optax.GradientTransformation:
    """RMSprop with Keras' defaults: ``v ← 0.9 v + 0.1 g²``, ``p ← p - η g / √(v + 1e-7)``."""
    return optax.rmsprop(rate, decay=0.9, eps=1e-7)


def windows(ids: np.ndarray, starts: np.ndarray) -> rnn_jax.Windows:
    """Batches of `SENTENCE` tokens from each start, and the one token that follows each."""
    starts = starts[: len(starts) // BATCH * BATCH].reshape(-1, 1, BATCH)
    sentences = ids[starts + np.arange(SENTENCE)[:, None]]
    return rnn_jax.Windows(jnp.asarray(sentences), jnp.asarray(ids[starts[:, 0] + SENTENCE]))


def make_evaluate(model: rnn_jax.LanguageModel) -> Any:
    """``(params, windows) -> loss``, the mean over all windows as one compiled call."""

    @jax.jit
    def evaluate(params: Params, data: rnn_jax.Windows) -> Array:
        def loss(batch: tuple[Array, Array]) -> Array:
            _, logits = model.apply(params, None, batch[0])
            return last_step_loss(logits, batch[1])

        return jax.lax.map(loss, (data.inputs, data.targets)).mean()

    return evaluate


def continued(
    model: rnn_jax.LanguageModel, params: Params, vocabulary: text.Vocabulary, prefix: str,
    temperature: float, key: Array,
) -> str:  # fmt: skip
    """``prefix`` and 200 further characters."""
    ids = jnp.asarray(vocabulary.encode(prefix))
    _, new = rnn_jax.generate(
        model, params, None, ids, length=200, key=key, temperature=temperature
    )
    return prefix + "".join(vocabulary.decode(np.asarray(new)))


class Options: ...
