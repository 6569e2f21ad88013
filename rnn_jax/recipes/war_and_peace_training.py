"""The model and the training of Karpathy, Johnson and Fei-Fei (2015)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

import rnn_jax
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
STEPS_A_CALL = 10  # between two looks at the clock


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


@dataclass(frozen=True, eq=False)
class Epoch:
    """What one epoch came to, the last one perhaps cut short; seconds are those of training."""

    number: int
    steps: int
    train_loss: float
    seconds: float
    params: Params


def train(
    model: rnn_jax.LanguageModel, params: Params, data: rnn_jax.Windows,
    *, epochs: int, seconds: float,
) -> Iterator[Epoch]:  # fmt: skip
    """Train for so many epochs, or so many seconds if these are over sooner."""
    optimizer = optax.chain(
        optax.clip(CLIP),
        optax.rmsprop(
            lambda step: learning_rate(1 + step // data.count),
            decay=RMS_DECAY, eps=1e-8, eps_in_sqrt=False,
        ),
    )  # fmt: skip
    # A copy, because each call gives its state's memory away.
    params = jax.tree.map(jnp.array, params)
    state = rnn_jax.init_train_state(model, optimizer, params, batch_shape=(data.batch_size,))
    run = rnn_jax.make_train_steps(rnn_jax.make_train_step(model, optimizer))
    state, _ = run(state, data, 0, 0)  # no step: compiles
    left = seconds
    for number in range(1, epochs + 1):
        state = state._replace(carry=model.initial_carry((data.batch_size,), state.params))
        began, step, total = time.perf_counter(), 0, 0.0
        while step < data.count and (step == 0 or time.perf_counter() - began < left):
            state, (nats, _) = run(state, data, step, step + STEPS_A_CALL)
            step, total = min(step + STEPS_A_CALL, data.count), total + float(nats)
        spent = time.perf_counter() - began
        left -= spent
        loss = total / (step * data.targets[0].size)
        yield Epoch(number, step, loss, spent, jax.tree.map(jnp.array, state.params))
        if left <= 0:
            return
