"""Keras' text generation example: many-to-one LSTM, RMSprop, on Shakespeare's characters.

A window of 40 characters goes through an LSTM whose last hidden state alone is read: dense layer,
softmax, cross-entropy of the character that follows. Batches of 128, RMSprop at 0.01, fresh
parameters drawn as Keras draws them. One forward pass and three steps equal Keras' to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnn_jax
from rnn_jax import text
from rnn_jax.host.files import Row
from rnn_jax.recipes.figure import line_figure
from rnn_jax.recipes.fit import fit
from rnn_jax.recipes.folder import RecipeFolder
from rnn_jax.recipes.options import RecipeOptions, option
from rnn_jax.types import Array, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Options", "keras_parameters", "keras_rmsprop", "many_to_one", "run"]

BATCH, STRIDE = 128, 3
QUICK_BATCHES = 100
TEMPERATURES = (0.2, 0.5, 1.0, 1.2)


@dataclass(frozen=True)
class Options(RecipeOptions):
    """The sizes and the length of the training."""

    epochs: int = option(3, "Passes over the windows.")
    hidden_size: int = option(128, "Hidden units.")
    sentence_length: int = option(40, "Characters of a window.")
    rate: float = option(0.01, "Learning rate.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "epochs", "hidden_size", "sentence_length")
        self.above_zero("rate")


def run(options: Options, folder: RecipeFolder) -> None:
    """Train, evaluate on the last tenth of the text, and write on from one window."""
    documents = text.read_documents("tiny-shakespeare")
    ids, vocabulary = text.character_corpus(documents.texts, letters_only=False)
    length = options.sentence_length
    cut = len(ids) * 9 // 10
    starts = np.arange(0, cut - length, STRIDE)
    held_out_starts = np.arange(cut, len(ids) - length, STRIDE)
    if options.quick:
        starts, held_out_starts = (s[: QUICK_BATCHES * BATCH] for s in (starts, held_out_starts))
    print(f"{len(starts):,} windows to train on, vocabulary {len(vocabulary)}")
    held_out = windows(ids, held_out_starts, length)

    model = many_to_one(len(vocabulary), options.hidden_size)
    rows: list[Row] = []

    def epoch(done: int) -> rnn_jax.Windows:
        order = np.random.default_rng((options.seed, done + 1)).permutation(starts)
        return windows(ids, order, length)

    def tell(metrics: Row, _: Params) -> None:
        row = {"epoch": metrics["epoch"], "held_out": metrics["loss"]}
        if row["epoch"]:
            row["train_loss"] = metrics["train_loss"]
            row["windows_per_second"] = metrics["tokens_per_second"]
        report(row)
        rows.append(row)
        folder.history(row)

    state, _ = fit(
        model, keras_rmsprop(options.rate), epoch, epochs=1 if options.quick else options.epochs,
        params=keras_parameters(jax.random.key(options.seed), model), validation=held_out,
        listeners=[tell],
    )  # fmt: skip
    for temperature in TEMPERATURES:
        print(f"\ntemperature {temperature}:")
        print(continued(model, state.params, ids[:length], vocabulary, temperature, options.seed))
    folder.figure("loss", loss_figure(rows))
    best = min(row["held_out"] for row in rows)
    folder.close(
        ["", "published", "here"],
        [
            [
                "held-out cross-entropy, untrained (nats a character)",
                f"ln V = {np.log(len(vocabulary)):.3f}",
                f"{rows[0]['held_out']:.3f}",
            ],
            ["held-out cross-entropy, lowest", "-", f"{best:.3f}"],
            ["windows a second", "-", f"{rows[-1]['windows_per_second']:,}"],
        ],
    )


def report(row: Row) -> None:
    """Print a row of the history; the first one tells of the untrained model."""
    if "train_loss" not in row:
        print(f"untrained: held out {row['held_out']:.3f} nats")
        print("  epoch  train loss  held out  windows/s")
        return
    print(
        f"{row['epoch']:7} {row['train_loss']:11.3f} {row['held_out']:9.3f} "
        f"{row['windows_per_second']:10,}",
        flush=True,
    )


def many_to_one(vocab_size: int, hidden_size: int) -> rnn_jax.SequenceClassifier:
    """One LSTM over one-hot tokens, and a dense read-out of its last hidden state."""
    layer = rnn_jax.recurrent(rnn_jax.lstm(hidden_size))
    return rnn_jax.sequence_classifier(vocab_size, layer, input_size=vocab_size)


def keras_parameters(key: Array, model: rnn_jax.SequenceClassifier) -> Params:
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
        "readout": {"w": glorot(keys[2], readout["w"].shape), "b": jnp.zeros(model.classes)},
    }


def keras_rmsprop(rate: float) -> optax.GradientTransformation:
    """RMSprop with Keras' defaults: ``v ← 0.9 v + 0.1 g²``, ``p ← p - η g / √(v + 1e-7)``."""
    return optax.rmsprop(rate, decay=0.9, eps=1e-7)


def windows(ids: np.ndarray, starts: np.ndarray, length: int) -> rnn_jax.Windows:
    """Batches of ``length`` tokens from each start, and the one token that follows each."""
    starts = starts[: len(starts) // BATCH * BATCH].reshape(-1, 1, BATCH)
    sentences = ids[starts + np.arange(length)[:, None]]
    return rnn_jax.Windows(jnp.asarray(sentences), jnp.asarray(ids[starts[:, 0] + length]))


def continued(
    model: rnn_jax.SequenceClassifier, params: Params, window: np.ndarray,
    vocabulary: text.Vocabulary, temperature: float, seed: int,
) -> str:  # fmt: skip
    """A window and 200 further characters, each read from the state after all before it."""
    writer = rnn_jax.language_model(model.classes, model.layer)  # of the same parameters
    _, new = rnn_jax.generate(
        writer, params, None, jnp.asarray(window), length=200, key=jax.random.key(seed),
        temperature=temperature,
    )  # fmt: skip
    return "".join(vocabulary.decode([*window, *np.asarray(new)]))


def loss_figure(rows: list[Row]) -> Figure:
    """Both losses against the epoch."""
    lines = {
        label: ([row["epoch"] for row in rows if key in row], [r[key] for r in rows if key in r])
        for key, label in (("train_loss", "while training"), ("held_out", "held-out text"))
    }
    return line_figure(lines, xlabel="epoch", ylabel="cross-entropy (nats per character)")
