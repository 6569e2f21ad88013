"""The word model of the WildML tutorial, in NumPy and in Theano: two things called truncated BPTT.

The tutorial's whole way: text to sentences, the gradient check, the time of a step, training on 100
sentences. Then the whole text, once with each truncation: sliding:4 is what the NumPy program
computes, tail:4 what the Theano program computes. At last ten sentences from saved parameters.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from rnn_jax import interop, text
from rnn_jax.recipes.figure import line_figure
from rnn_jax.recipes.folder import RecipeFolder
from rnn_jax.recipes.options import option
from rnn_jax.recipes.sentences import (
    SentenceOptions,
    batched,
    initial_parameters,
    print_evaluation,
    read_sentences,
    train,
    word_model,
)
from rnn_jax.reference_step import Workload
from rnn_jax.runs import TrainConfig, check_gradients, sample_texts
from rnn_jax.types import Params

__all__ = ["Options", "losses_from_the_end", "mean_loss", "run"]

# The tutorial's part 2: the loss before each of ten passes over 100 sentences; a step's time.
LOSSES = (
    8.987425, 8.976270, 8.960212, 8.930430, 8.862264,
    6.913570, 6.302493, 6.014995, 5.833877, 5.710718,
)  # fmt: skip
NUMPY = "NumPy's double loop"
STEP_MS = {NUMPY: 180.0, "tail:4": 73.7}
Row = dict[str, Any]


@dataclass(frozen=True)
class Options(SentenceOptions):
    """The text, the model, its training, and the truncations."""

    bptt: str = option(
        "sliding:4,tail:4",
        "Truncations to train with, commas between; the first one's model writes the sentences.",
    )
    whole_epochs: int = option(5, "Passes over the whole text.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "whole_epochs")
        try:
            _ = self.kinds
        except ValueError as error:
            raise ValueError(f"--bptt {error}") from None

    @property
    def kinds(self) -> dict[str, rnn_jax.Truncation]:
        """The truncations by name, in the order asked for."""
        return {name: rnn_jax.parse_truncation(name) for name in self.bptt.split(",")}


def run(options: Options, folder: RecipeFolder) -> None:
    """Go the tutorial's way, then train on the whole text with each truncation."""
    vocabulary, sentences = read_sentences(options)
    few = sentences.subset(0, options.sentences)
    whole = sentences.subset(0, 1000) if options.quick else sentences
    epochs = min(options.whole_epochs, 2) if options.quick else options.whole_epochs
    model = word_model(len(vocabulary), options.hidden_size)
    _, params = initial_parameters(len(vocabulary), options.hidden_size, options.seed)
    evaluate, from_the_end = mean_loss(model, whole), losses_from_the_end(model, whole)
    print(f"Expected Loss for random predictions: {np.log(len(vocabulary)):f}")
    print(f"Actual loss: {evaluate(params):f}\n")
    checked = check_gradients(word_model(100, 10), seed=options.seed)
    print(f"{checked}\n")
    times = step_times(options)
    for name, milliseconds in times.items():
        print(f"one SGD step, {name}: {milliseconds:.3g} ms")

    first = next(iter(options.kinds))
    rows, _ = trained(model, params, few, options, first, options.epochs, mean_loss(model, few))
    published = list(zip(LOSSES, [row["loss"] for row in rows], strict=False))
    losses: dict[str, Any] = {}
    ends: dict[str, Any] = {}
    for name in options.kinds:
        new, last = trained(model, params, whole, options, name, epochs, evaluate)
        rows += new
        folder.history(rows)
        interop.save_uvw(saved(folder, name), last)
        losses[name] = [row["seen"] for row in new], [row["loss"] for row in new]
        nats = from_the_end(last)
        ends[name] = range(len(nats)), nats
    ylabel = "cross-entropy (nats per word)"
    folder.figure("loss", line_figure(losses, xlabel="sentences seen", ylabel=ylabel))
    xlabel = "words between the prediction and the sentence's end"
    folder.figure("loss-from-the-end", line_figure(ends, xlabel=xlabel, ylabel=ylabel))

    loaded = interop.load_uvw(saved(folder, first))
    print(f"\nten sentences from the parameters saved and loaded, {first}:")
    config = TrainConfig(batching="sentences")
    print("\n".join(sample_texts(model, loaded, vocabulary, config, seed=options.seed)))

    count = sum(array.count for array in checked.arrays)
    worst = max(array.largest_relative_error for array in checked.arrays)
    verdict = f"all pass, largest relative error {worst:.1g}" if checked.passed else "FAILED"
    table = [[f"gradient check, {count:,} parameters", "all pass", verdict]]
    for name, milliseconds in times.items():
        known = f"{STEP_MS[name]:g}" if name in STEP_MS else "-"
        table.append([f"one SGD step of 45 words, {name} (ms)", known, f"{milliseconds:.3g}"])
    for i, (theirs, ours) in enumerate(published):
        what = f"{len(few)} sentences, {first}, loss after {i} epochs"
        table.append([what, f"{theirs:f}", f"{ours:f}"])
    for name, (_, nats) in ends.items():
        what = f"{len(whole):,} sentences, {name}, loss after {epochs} epochs"
        table += [
            [what, "-", f"{losses[name][1][-1]:.3f}"],
            ["... at the last 4 predictions of a sentence", "-", f"{np.nanmean(nats[:4]):.3f}"],
            ["... at the 16 before them", "-", f"{np.nanmean(nats[4:]):.3f}"],
        ]
    folder.close(["", "published", "here"], table)


def saved(folder: RecipeFolder, name: str) -> Path:
    """Where the parameters trained with a truncation lie."""
    return folder.path / f"{name.replace(':', '-')}.npz"


def step_times(options: Options) -> dict[str, float]:
    """Milliseconds of a step at V = 8000, H = 100 on sentences of 45 random words."""
    work = Workload(sentences=20 if options.quick else 200, seed=options.seed)
    loop, params = initial_parameters(work.vocab_size, work.hidden_size, options.seed)
    seconds = []
    for sentence in work.tokens[:20]:
        began = time.perf_counter()
        loop.sgd_step(sentence[:-1], sentence[1:], work.learning_rate, work.window)
        seconds.append(time.perf_counter() - began)
    times = {NUMPY: 1e3 * min(seconds)}
    offsets = np.arange(work.sentences + 1) * (work.length + 1)
    sentences = text.Sentences(work.tokens.ravel(), offsets)
    for name, kind in options.kinds.items():
        model = rnn_jax.truncate(word_model(work.vocab_size, work.hidden_size), kind)
        turns = train(model, params, sentences, evaluate=lambda _: 0.0, epochs=3)
        times[name] = 1e3 * min([turn.step_seconds for turn in turns][1:])
    return times


def trained(
    model: Any, params: Params, sentences: text.Sentences, options: Options, name: str,
    epochs: int, evaluate: Callable[[Params], float],
) -> tuple[list[Row], Params]:  # fmt: skip
    """Rows of the history and the last parameters of one training, reported as it goes."""
    print(f"\n{len(sentences):,} sentences, {name}")
    model = rnn_jax.truncate(model, options.kinds[name])
    rows: list[Row] = []
    for now in train(model, params, sentences, evaluate=evaluate, epochs=epochs, rate=options.rate):
        print_evaluation(now)
        if rows and now.loss > rows[-1]["loss"]:
            print(f"Setting learning rate to {now.rate / 2:f}")
        row = {"epoch": now.epoch, "seen": now.seen, "loss": now.loss, "rate": now.rate}
        rows.append({"sentences": len(sentences), "bptt": name, **row})
    return rows, now.params


def mean_loss(model: Any, sentences: text.Sentences) -> Callable[[Params], float]:
    """The summed loss over the number of words, as a function of the parameters."""
    data, totals = batched(sentences.by_length(), 16), rnn_jax.make_evaluate(model)

    def loss(params: Params) -> float:
        nats, words = totals(params, data)
        return float(nats / words)

    return loss


def losses_from_the_end(
    model: Any, sentences: text.Sentences, most: int = 20
) -> Callable[[Params], np.ndarray]:
    """The mean loss of the sentences' last prediction, of the last but one, and so on.

    Returns:
      A function of the parameters to ``float[most]``; the first is the loss of predicting the
      sentence's end, and NaN stands where no sentence is long enough.
    """
    data = batched(sentences.by_length(), 16)

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
