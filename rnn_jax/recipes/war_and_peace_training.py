"""The model and the training of Karpathy, Johnson and Fei-Fei (2015)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

import rnn_jax
from rnn_jax.host.files import Row
from rnn_jax.recipes.fit import fit
from rnn_jax.types import Params

__all__ = [
    "BATCH",
    "CELLS",
    "CLIP",
    "RATE",
    "RMS_DECAY",
    "STEPS",
    "Epoch",
    "initial_parameters",
    "learning_rate",
    "make_model",
    "train",
]

BATCH, STEPS = 100, 100
RATE, RMS_DECAY, CLIP = 2e-3, 0.95, 5.0
RATE_DECAY, FLAT_EPOCHS = 0.95, 10
CELLS: dict[str, Callable[..., rnn_jax.Cell]] = {
    "tanh": rnn_jax.elman,
    "gru": rnn_jax.gru,
    "lstm": rnn_jax.lstm,
}


def make_model(vocab_size: int, cell: str, hidden_size: int, layers: int) -> rnn_jax.LanguageModel:
    """Layers of a cell with two biases, as PyTorch's are, over one-hot characters."""
    one = rnn_jax.recurrent(CELLS[cell](hidden_size, recurrent_bias=True))
    stack = one if layers == 1 else rnn_jax.serial(*[one] * layers)
    return rnn_jax.language_model(vocab_size, stack)


def initial_parameters(model: rnn_jax.LanguageModel, seed: int) -> Params:
    """Every parameter uniform in ±0.08."""
    shapes, tree = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0)))
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    arrays = [
        jax.random.uniform(key, array.shape, minval=-0.08, maxval=0.08)
        for key, array in zip(keys, shapes, strict=True)
    ]
    return jax.tree.unflatten(tree, arrays)


def learning_rate(epoch: Any) -> Any:
    """2e-3, times 0.95 for each epoch after the tenth; epochs count from 1."""
    return RATE * RATE_DECAY ** jnp.maximum(0, epoch - FLAT_EPOCHS)


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to, the last one perhaps cut short; seconds are those of training."""

    number: int
    steps: int
    train_loss: float
    validation_loss: float
    seconds: float


def train(
    model: rnn_jax.LanguageModel, params: Params, data: rnn_jax.Windows,
    validate: Callable[[Params], float], tell: Callable[[Epoch], None],
    *, epochs: int, seconds: float,
) -> Params:  # fmt: skip
    """Train for so many epochs, or seconds if these are over sooner.

    Returns:
      The parameters of the lowest validation loss, the given ones included.
    """
    optimizer = optax.chain(
        optax.clip(CLIP),
        optax.rmsprop(
            lambda step: learning_rate(1 + step // data.count),
            decay=RMS_DECAY, eps=1e-8, eps_in_sqrt=False,
        ),
    )  # fmt: skip
    steps = tokens = 0

    def told(row: Row, _: Params) -> None:
        nonlocal steps, tokens
        new, seen, speed = row["step"] - steps, row["tokens"] - tokens, row["tokens_per_second"]
        steps, tokens = row["step"], row["tokens"]
        if new:  # else of the untrained model
            # An epoch's one step that was compiled for it has no speed.
            spent = seen / speed if speed else 0.0
            number = math.ceil(row["epoch"])
            tell(Epoch(number, new, row["train_loss"], row["loss"], spent))

    _, history = fit(
        model, optimizer, data, epochs=epochs, seconds=seconds, params=params, stateful=True,
        validation=validate, listeners=[told],
    )  # fmt: skip
    return history.best_params
