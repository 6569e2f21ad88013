"""Train one model in float32 and in bfloat16, and put both curves beside each other.

`python docs/how-to/mixed-precision.py` prints the table of docs/how-to/mixed-precision.md and
writes its picture; `--epochs 1 --hidden-size 32` is a quick look.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import rnn_jax
from rnn_jax import text
from rnn_jax.recipes.figure import line_figure
from rnn_jax.training import consecutive, covering

BATCH, STEPS, RATE, CLIP = 64, 64, 2e-3, 1.0


def main(epochs: int, hidden_size: int, picture: Path | None) -> None:
    """An LSTM over the characters of Tiny Shakespeare; the last tenth is held out."""
    documents = text.read_documents("tiny-shakespeare")
    ids, vocabulary = text.character_corpus(documents.texts, letters_only=False)
    cut = len(ids) * 9 // 10
    data = consecutive(ids[:cut], batch_size=BATCH, seq_length=STEPS)
    held_out = covering(ids[cut:], batch_size=BATCH, seq_length=STEPS)

    plain = rnn_jax.language_model(
        len(vocabulary), rnn_jax.recurrent(rnn_jax.lstm(hidden_size, forget_bias=1.0))
    )
    models = {"float32": plain, "bfloat16": rnn_jax.mixed_precision(plain)}
    optimizer = optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(RATE))
    states, runs, evaluations, curves = {}, {}, {}, {}
    for name, model in models.items():
        params = plain.init(jax.random.key(0))  # the same, each in arrays of its own
        states[name] = rnn_jax.init_train_state(model, optimizer, params, batch_shape=(BATCH,))
        runs[name] = rnn_jax.make_train_steps(rnn_jax.make_train_step(model, optimizer))
        evaluations[name] = rnn_jax.make_evaluate(model)
        states[name], _ = runs[name](states[name], data, 0, 0)  # no step: compiles
        curves[name] = []

    print("epoch  dtype     training  held out  ms/step", flush=True)
    for epoch in range(1, epochs + 1):
        for name, model in models.items():
            state = states[name]
            state = state._replace(carry=model.initial_carry((BATCH,), state.params))
            began = time.perf_counter()
            state, (nats, tokens) = runs[name](state, data, 0, data.count)
            training = float(nats / tokens)
            milliseconds = 1e3 * (time.perf_counter() - began) / data.count
            carry = model.initial_carry((BATCH,), state.params)
            nats, tokens = evaluations[name](state.params, held_out, carry)
            loss = float(nats / tokens)
            curves[name].append((training, loss))
            states[name] = state
            assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params))
            print(
                f"{epoch:5}  {name:8}  {training:8.4f}  {loss:8.4f}  {milliseconds:7.1f}",
                flush=True,
            )

    numbers = range(1, epochs + 1)
    lines = {
        f"{name}, {part}": (numbers, [losses[i] for losses in curve])
        for i, part in enumerate(("training", "held out"))
        for name, curve in curves.items()
    }
    if picture is not None:
        figure = line_figure(lines, xlabel="epoch", ylabel="cross-entropy (nats per character)")
        figure.savefig(picture, dpi=80, metadata={"Software": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_suffix(".png"))
    given = parser.parse_args()
    main(given.epochs, given.hidden_size, given.picture)
