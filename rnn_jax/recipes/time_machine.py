"""The recurrent networks of Dive into Deep Learning on The Time Machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnn_jax
from rnn_jax import text
from rnn_jax.recipes.time_machine_models import MODELS, TimeMachineModel
from rnn_jax.recipes.windows import consecutive, stacked

PREFIX = "time traveller"
BATCH, STEPS = 32, 35
SHOWN_NORMS = ("lstm", "lstm-2", "lstm-32")
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Book:
    """The tokens to train on, those held out (none but with the whole book), and what they mean."""

    vocabulary: text.Vocabulary
    training: np.ndarray
    held_out: np.ndarray
    level: str

    def epoch(self, seed: int, number: int, *, random: bool) -> rnn_jax.Windows:
        """The batches of one epoch, cut anew at a random offset."""
        cut = text.random_batches if random else text.sequential_batches
        return stacked(cut(self.training, BATCH, STEPS, np.random.default_rng((seed, number))))

    def continued(self, model: Any, params: Any) -> str:
        """`PREFIX` and the 50 tokens that a model deems most probable after it."""
        prefix = list(PREFIX) if self.level == "char" else PREFIX.split()
        ids = jnp.asarray(self.vocabulary.encode(prefix))
        _, new = rnn_jax.generate(
            model, params, None, ids, length=50, key=jax.random.key(0), temperature=0
        )
        joint = "" if self.level == "char" else " "
        return joint.join([*prefix, *self.vocabulary.decode(np.asarray(new))])


def read_book(level: str, *, whole: bool) -> Book:
    """The first 10,000 tokens; or the whole book, with its last tenth held out."""
    documents = text.read_documents("time-machine")
    ids, vocabulary = text.character_corpus(documents.texts, level)
    cut = len(ids) * 9 // 10 if whole else 10_000
    return Book(vocabulary, ids[:cut], ids[cut:] if whole else ids[:0], level)


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of one model: a row an epoch, and the gradient's norm in each layer."""

    rows: list[Row]
    norms: dict[str, list[float]]


def train(
    name: str, book: Book, *, hidden_size: int, epochs: int, seed: int, say: Callable[[str], None]
) -> Trained:
    """One of `MODELS`, from fresh parameters to its continuation of `PREFIX`."""
    spec = MODELS[name]
    model = rnn_jax.language_model(len(book.vocabulary), spec.layer(hidden_size))
    truncated = model if spec.bptt == rnn_jax.full() else rnn_jax.truncate(model, spec.bptt)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(spec.rate))
    shape = None if spec.random else (BATCH,)
    state = rnn_jax.init_train_state(
        truncated, optimizer, model.init(jax.random.key(seed)), batch_shape=shape
    )
    run = rnn_jax.make_train_steps(rnn_jax.make_train_step(truncated, optimizer))
    evaluate = rnn_jax.make_evaluate(model)
    noise = jax.random.key(seed + 1)
    norms, rows = {}, []
    if name in SHOWN_NORMS:
        norms["before training"] = gradient_norms(model, state.params, book, seed)
    epochs = max(1, round(epochs * spec.share))
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        data = book.epoch(seed, epoch, random=spec.random)
        if shape:  # carried from batch to batch, and anew with each epoch
            state = state._replace(carry=model.initial_carry(shape, state.params))
        state, (nats, tokens) = run(state, data, 0, data.count, noise)
        row: Row = {"model": name, "epoch": epoch, "perplexity": float(jnp.exp(nats / tokens))}
        row["tokens_per_second"] = round(int(tokens) / (time.perf_counter() - began))
        if len(book.held_out):
            part = consecutive(book.held_out, 4, STEPS)
            nats, tokens = evaluate(state.params, part, model.initial_carry((4,), state.params))
            row["held_out_perplexity"] = float(jnp.exp(nats / tokens))
        rows.append(row)
        if epoch % max(1, epochs // 5) == 0:
            say(_line(row) + (book.continued(model, state.params) if model.causal else ""))
    if name in SHOWN_NORMS:
        norms["after training"] = gradient_norms(model, state.params, book, seed)
    return Trained(rows, norms)


def gradient_norms(model: Any, params: Any, book: Book, seed: int) -> list[float]:
    """The norm of the loss's gradient in each layer's parameters, from the lowest, on one batch."""
    data = book.epoch(seed, 0, random=False)

    @jax.jit
    def norms(params: Any) -> list[Any]:
        def loss(params: Any) -> Any:
            _, logits = model.apply(params, None, data.inputs[0])
            return rnn_jax.cross_entropy(logits, data.targets[0])

        layers = jax.grad(loss)(params)["layer"]
        return [optax.global_norm(layers[str(i)]) for i in range(len(layers))]

    return [float(norm) for norm in norms(params)]


def perplexity_figure(results: dict[str, Trained], key: str = "perplexity") -> Any:
    """Perplexity against the epoch, a line a model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for name, result in results.items():
        epochs = [row["epoch"] for row in result.rows]
        axes.plot(epochs, [row[key] for row in result.rows], label=name, linewidth=1)
    axes.set(xlabel="epoch", ylabel=key.replace("_", " "), yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure


def norms_figure(results: dict[str, Trained]) -> Any:
    """Norm of the gradient against the layer, before and after training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for name, result in results.items():
        for when, norms in result.norms.items():
            axes.plot(range(1, len(norms) + 1), norms, marker="o", label=f"{name}, {when}")
    axes.set(xlabel="layer, from the lowest", ylabel="norm of the gradient", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure
