"""The figures of docs/how-to/mixed-precision.md.

`python docs/how-to/mixed-precision.py` trains one model in float32 and in bfloat16, prints the
table of losses and draws both curves (`--epochs 1 --hidden-size 32` for a quick look). With
`--time` it prints the time of a training step in either, measured in turns, with `--carry` by how
much an LSTM's states differ from float32's where the carry is float32, and where it is not.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnn_jax
from rnn_jax import text
from rnn_jax.recipes.figure import line_figure
from rnn_jax.training import consecutive, covering

BATCH, STEPS, RATE, CLIP = 64, 64, 2e-3, 1.0
Curves = dict[str, list[tuple[float, float]]]  # by dtype, training and held-out loss of each epoch


class Trainer:
    """One model, its compiled loops and its state; all begin with the same parameters."""

    def __init__(self, model: Any, data: rnn_jax.Windows) -> None:
        optimizer = optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(RATE))
        self.model, self.data = model, data
        self.state = rnn_jax.init_train_state(
            model, optimizer, model.init(jax.random.key(0)), batch_shape=(BATCH,)
        )
        self.run = rnn_jax.make_train_steps(rnn_jax.make_train_step(model, optimizer))
        self.evaluate = rnn_jax.make_evaluate(model)
        self.train(0)  # no step: compiles

    def train(self, steps: int) -> tuple[float, float]:
        """The mean loss of the first steps over the data, and seconds a step."""
        carry = self.model.initial_carry((BATCH,), self.state.params)
        began = time.perf_counter()
        self.state, (nats, tokens) = self.run(self.state._replace(carry=carry), self.data, 0, steps)
        loss = float(nats) / max(int(tokens), 1)
        return loss, (time.perf_counter() - began) / max(steps, 1)

    def loss(self, data: rnn_jax.Windows) -> float:
        """The mean loss of other data."""
        carry = self.model.initial_carry((BATCH,), self.state.params)
        nats, tokens = self.evaluate(self.state.params, data, carry)
        return float(nats / tokens)


def trainers(characters: int, hidden_size: int, data: rnn_jax.Windows) -> dict[str, Trainer]:
    """An LSTM over characters, in either dtype."""
    layer = rnn_jax.recurrent(rnn_jax.lstm(hidden_size, forget_bias=1.0))
    model = rnn_jax.language_model(characters, layer)
    models = {"float32": model, "bfloat16": rnn_jax.mixed_precision(model)}
    return {name: Trainer(model, data) for name, model in models.items()}


def compare_losses(epochs: int, hidden_size: int, picture: Path) -> None:
    """Tiny Shakespeare, the last tenth of it held out."""
    documents = text.read_documents("tiny-shakespeare")
    ids, vocabulary = text.character_corpus(documents.texts, letters_only=False)
    cut = len(ids) * 9 // 10
    data = consecutive(ids[:cut], batch_size=BATCH, seq_length=STEPS)
    held_out = covering(ids[cut:], batch_size=BATCH, seq_length=STEPS)
    curves: Curves = {"float32": [], "bfloat16": []}
    both = trainers(len(vocabulary), hidden_size, data)
    print("epoch  dtype     training  held out  ms/step", flush=True)
    for epoch in range(1, epochs + 1):
        for name, trainer in both.items():
            training, seconds = trainer.train(data.count)
            loss = trainer.loss(held_out)
            curves[name].append((training, loss))
            print(
                f"{epoch:5}  {name:8}  {training:8.4f}  {loss:8.4f}  {1e3 * seconds:7.1f}",
                flush=True,
            )
        draw(curves, picture)


def draw(curves: Curves, picture: Path) -> None:
    """Four lines: training and held-out loss in either dtype."""
    lines = {
        f"{name}, {part}": (range(1, len(curve) + 1), [losses[i] for losses in curve])
        for i, part in enumerate(("training", "held out"))
        for name, curve in curves.items()
    }
    figure = line_figure(lines, xlabel="epoch", ylabel="cross-entropy (nats per character)")
    figure.savefig(picture, dpi=80, metadata={"Software": None})


def compare_times(rounds: int = 9, steps: int = 4) -> None:
    """Medians of milliseconds a training step, a few steps of each dtype in turn."""
    ids = np.random.default_rng(0).integers(0, 65, BATCH * STEPS * steps + 1)
    data = consecutive(ids, batch_size=BATCH, seq_length=STEPS)
    print("units  float32 ms  bfloat16 ms")
    for hidden_size in (32, 256, 512):
        both = trainers(65, hidden_size, data)
        times = [[t.train(steps)[1] for t in both.values()] for _ in range(rounds + 1)][1:]
        wide, narrow = 1e3 * np.median(times, axis=0)
        print(f"{hidden_size:5}  {wide:10.1f}  {narrow:11.1f}", flush=True)


def compare_carries() -> None:
    """Relative errors of the cell state, beside float32 at the same rounded weights and inputs."""
    print("forget bias  steps  float32 carry  bfloat16 carry")
    for forget_bias, steps in ((1.0, 100), (3.0, 500), (5.0, 500)):
        wide, narrow = carry_errors(forget_bias, steps)
        print(f"{forget_bias:11}  {steps:5}  {wide:13.2%}  {narrow:14.2%}")


def carry_errors(forget_bias: float, steps: int, units: int = 256) -> list[float]:
    """With a carry of float32, and with one that is rounded after every step."""
    layer = rnn_jax.recurrent(rnn_jax.lstm(units, forget_bias=forget_bias))
    mixed: Any = rnn_jax.mixed_precision(layer)
    params = layer.init(jax.random.key(0), units)
    xs = jax.random.normal(jax.random.key(1), (steps, 8, units))

    def rounded(tree: Any) -> Any:
        return jax.tree.map(lambda a: a.astype(jnp.bfloat16).astype(jnp.float32), tree)

    def step(carry: Any, x: jax.Array) -> tuple[Any, None]:
        return rounded(mixed.apply(params, carry, x[None])[0]), None

    weights = jax.tree.map(lambda a: rounded(a) if a.ndim > 1 else a, params)
    exact, wide = layer.apply(weights, None, rounded(xs))[0].c, mixed.apply(params, None, xs)[0].c
    narrow = jax.lax.scan(step, mixed.initial_carry((8,), params), xs)[0].c
    return [float(jnp.linalg.norm(c - exact) / jnp.linalg.norm(exact)) for c in (wide, narrow)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_suffix(".png"))
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--carry", action="store_true")
    given = parser.parse_args()
    if given.time:
        compare_times()
    elif given.carry:
        compare_carries()
    else:
        compare_losses(given.epochs, given.hidden_size, given.picture)
