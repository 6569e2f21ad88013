"""The word model's training: a sentence a step, the rate halved when the evaluated loss rises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from rnn_jax import text
from rnn_jax.training import with_learning_rate
from rnn_jax.types import Params

__all__ = ["Evaluation", "losses_from_the_end", "mean_loss", "report", "train", "word_model"]


def word_model(vocab_size: int, hidden_size: int) -> rnn_jax.LanguageModel:
    """``s_t = tanh(U x_t + W s_{t-1})``, ``o_t = softmax(V s_t)``: one-hot inputs, no biases."""
    cell = rnn_jax.elman(hidden_size, bias=False)
    return rnn_jax.language_model(vocab_size, rnn_jax.recurrent(cell), bias=False)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The model before an epoch or after the last.

    learning_rate: of the epoch that follows.
    halved: whether it was halved now, the loss being higher than the one before.
    seconds: that the epoch before took, without evaluation.
    """

    epoch: int
    seen: int
    loss: float
    learning_rate: float
    halved: bool
    seconds: float
    params: Params


def train(
    model: rnn_jax.LanguageModel,
    params: Params,
    sentences: text.Sentences,
    *,
    bptt: rnn_jax.Truncation,
    epochs: int,
    evaluate: Callable[[Params], float],
    rate: float = 0.005,
) -> Iterator[Evaluation]:
    """Plain SGD on summed losses in the data's order, an evaluation before each epoch and at last.

    Example:
      >>> sentences = text.Sentences(np.array([0, 3, 1, 0, 2, 3, 1]), np.array([0, 3, 7]))
      >>> model = word_model(4, 3)
      >>> params = model.init(jax.random.key(0))
      >>> history = train(
      ...     model, params, sentences, bptt=rnn_jax.sliding(4), epochs=2,
      ...     evaluate=mean_loss(model, sentences),
      ... )
      >>> [(row.epoch, row.seen) for row in history]
      [(0, 0), (1, 2), (2, 4)]
    """
    truncated, optimizer = rnn_jax.truncate(model, bptt), rnn_jax.sgd(rate)
    loss = partial(rnn_jax.cross_entropy, reduction="sum")
    run = rnn_jax.make_train_steps(
        rnn_jax.make_train_step(truncated, optimizer, loss=loss), summed=True
    )
    # The state is donated to each epoch: what callers hold are copies.
    state = rnn_jax.init_train_state(truncated, optimizer, jax.tree.map(jnp.copy, params))
    data, key = _stream(sentences, 1), jax.random.key(0)  # for a randomised truncation
    seconds, before = 0.0, np.inf
    for epoch in range(epochs + 1):
        value = evaluate(state.params)
        halved = value > before
        if halved:
            rate /= 2
            state = state._replace(opt_state=with_learning_rate(state.opt_state, jnp.array(rate)))
        before, copy = value, jax.tree.map(jnp.copy, state.params)
        yield Evaluation(epoch, epoch * len(sentences), value, rate, halved, seconds, copy)
        if epoch < epochs:
            began = time.perf_counter()
            state, (nats, _) = run(state, data, 0, data.count, key)
            nats.block_until_ready()
            seconds = time.perf_counter() - began


def mean_loss(model: rnn_jax.LanguageModel, sentences: text.Sentences) -> Callable[[Params], float]:
    """The summed loss over the number of words, as a function of the parameters."""
    data, totals = _stream(sentences.by_length(), 16), rnn_jax.make_evaluate(model)

    def loss(params: Params) -> float:
        nats, words = totals(params, data)
        return float(nats / words)

    return loss


def losses_from_the_end(
    model: rnn_jax.LanguageModel, sentences: text.Sentences, most: int = 20
) -> Callable[[Params], np.ndarray]:
    """The mean loss of the sentences' last prediction, of the last but one, and so on.

    Returns:
      A function of the parameters to ``float[most]``; the first is the loss of predicting the
      sentence's end, and NaN stands where no sentence is long enough.
    """
    data = _stream(sentences.by_length(), 16)

    @jax.jit
    def totals(params: Params) -> Any:
        def consume(sums: Any, batch: rnn_jax.Batch) -> Any:
            mask: Any = batch.mask
            _, logits = model.apply(params, None, batch.inputs, mask=mask)
            losses = rnn_jax.cross_entropy(logits, batch.targets, mask=mask, reduction="none")
            left = mask.sum(axis=0)[None] - 1 - jnp.arange(len(mask))[:, None]
            place = jnp.where(mask, left, most)  # a place of `most` or more is dropped
            return sums.at[:, place].add(jnp.stack([losses, mask.astype(losses.dtype)]))

        def body(index: Any, sums: Any) -> Any:
            return data.visit(index, consume, sums)

        return jax.lax.fori_loop(0, data.count, body, jnp.zeros((2, most)))

    def means(params: Params) -> np.ndarray:
        nats, words = np.asarray(totals(params))
        return np.divide(nats, words, out=np.full(most, np.nan, nats.dtype), where=words > 0)

    return means


def report(row: Evaluation) -> None:
    """Print an evaluation as the tutorial does."""
    halved = f"\nSetting learning rate to {row.learning_rate:f}" if row.halved else ""
    print(
        f"{datetime.now():%Y-%m-%d %H:%M:%S}: Loss after num_examples_seen={row.seen} "
        f"epoch={row.epoch}: {row.loss:f}{halved}",
        flush=True,
    )


def _stream(sentences: text.Sentences, batch_size: int) -> rnn_jax.SentenceStream:
    return rnn_jax.sentence_stream(
        sentences.stream, sentences.offsets, batch_size=batch_size,
        buckets=text.bucket_lengths(sentences.lengths),
    )  # fmt: skip
