"""The word model of the WildML tutorial, in NumPy and in Theano: two things called truncated BPTT.

The tutorial's whole way: text to sentences, the gradient check, the time of a step, training on 100
sentences and on the whole text, ten sentences from saved parameters. All but the last once with
each truncation: sliding:4 is what the NumPy program computes, tail:4 what the Theano program does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from rnn_jax import interop, text
from rnn_jax.host.files import Row
from rnn_jax.recipes.figure import line_figure
from rnn_jax.recipes.folder import RecipeFolder
from rnn_jax.recipes.options import option
from rnn_jax.recipes.reference_step import Workload, interleaved, jax_scan
from rnn_jax.recipes.sentences import (
    Evaluation,
    SentenceOptions,
    batched,
    initial_parameters,
    print_evaluation,
    read_sentences,
    train,
    word_model,
)
from rnn_jax.reference import NumpyRNN
from rnn_jax.reference.gradient_check import GradientReport
from rnn_jax.runs import TrainConfig, check_gradients, sample_texts
from rnn_jax.types import Array, Model, Params

__all__ = ["Options", "check_truncated", "losses_from_the_end", "mean_loss", "run"]

# The tutorial's part 2: the loss before each of ten passes over 100 sentences, and a step's time.
LOSSES = (
    8.987425, 8.976270, 8.960212, 8.930430, 8.862264,
    6.913570, 6.302493, 6.014995, 5.833877, 5.710718,
)  # fmt: skip
STEP = "180 ms NumPy, 73.7 ms Theano"
WHOLE = 1000  # the tutorial's bptt_truncate of the gradient check: more than any sentence has
ROUNDS, NUMPY = 5, "NumPy"  # of measuring a step's time


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
    """Go the tutorial's way with each truncation."""
    vocabulary, sentences = read_sentences(options)
    few = sentences.subset(0, options.sentences)
    whole = sentences.subset(0, 1000) if options.quick else sentences
    epochs = min(options.whole_epochs, 2) if options.quick else options.whole_epochs
    model = word_model(len(vocabulary), options.hidden_size)
    _, params = initial_parameters(len(vocabulary), options.hidden_size, options.seed)
    evaluate, from_the_end = mean_loss(model, whole), losses_from_the_end(model, whole)
    print(f"Expected Loss for random predictions: {np.log(len(vocabulary)):f}")
    print(f"Actual loss: {evaluate(params):f}\n")
    checks = {name: check_truncated(kind, options.seed) for name, kind in options.kinds.items()}
    for name, check in checks.items():
        print(f"gradient check, {name}\n{check}\n")
    times = step_times(options)
    numpy_ms = times.pop(NUMPY)
    print(f"one SGD step of NumPy's double loop: {numpy_ms:.3g} ms")
    for name, milliseconds in times.items():
        print(f"one SGD step, {name}: {milliseconds:.3g} ms")

    losses: dict[str, Row] = {"few": {}, "whole": {}}
    ends: Row = {}
    few_loss = mean_loss(model, few)
    for name in options.kinds:
        way = options, name, folder
        rows, _ = trained(model, params, few, *way, options.epochs, few_loss)
        losses["few"][name] = points(rows)
        rows, last = trained(model, params, whole, *way, epochs, evaluate)
        losses["whole"][name] = points(rows)
        interop.save_uvw(saved(folder, name), last)
        nats = from_the_end(last)
        ends[name] = range(len(nats)), nats
    ylabel = "cross-entropy (nats per word)"
    for part, lines in losses.items():
        figure = line_figure(lines, xlabel="sentences seen", ylabel=ylabel)
        folder.figure(f"loss-{part}", figure)
    xlabel = "words between the prediction and the sentence's end"
    folder.figure("loss-from-the-end", line_figure(ends, xlabel=xlabel, ylabel=ylabel))

    first = next(iter(options.kinds))
    loaded = interop.load_uvw(saved(folder, first))
    print(f"\nten sentences from the parameters saved and loaded, {first}:")
    config = TrainConfig(batching="sentences")
    print("\n".join(sample_texts(model, loaded, vocabulary, config, seed=options.seed)))

    table = [["gradient check, largest relative error", "< 0.01", *map(verdict, checks.values())]]
    for epoch, numbers in enumerate(zip(*(ys for _, ys in losses["few"].values()), strict=True)):
        known = f"{LOSSES[epoch]:f}" if epoch < len(LOSSES) else "-"
        what = f"loss, {len(few)} sentences, epoch {epoch}"
        table.append([what, known, *(f"{loss:f}" for loss in numbers)])
    last_losses = [f"{ys[-1]:f}" for _, ys in losses["whole"].values()]
    table += [
        [f"loss, {len(whole):,} sentences, epoch {epochs}", "-", *last_losses],
        ["... at a sentence's last 4 predictions", "-", *means(ends, slice(0, 4))],
        ["... at the 16 before them", "-", *means(ends, slice(4, None))],
        ["one SGD step of 45 words", STEP, *(f"{ms:.3g} ms" for ms in times.values())],
        ["... of NumPy's double loop, k = 4", "180 ms", *[f"{numpy_ms:.3g} ms"] * len(times)],
    ]
    folder.close(["", "published", *options.kinds], table)


def check_truncated(kind: rnn_jax.Truncation, seed: int) -> GradientReport:
    """The gradient check with a window that covers the sentence, as the tutorial does it.

    A shorter one gives another gradient, on purpose. Kinds without one are checked in full.
    """
    if isinstance(kind, rnn_jax.Chunked):
        kind = replace(kind, window=WHOLE)
    elif isinstance(kind, rnn_jax.Sliding | rnn_jax.Tail):
        kind = replace(kind, steps=WHOLE)
    else:
        kind = rnn_jax.full()
    return check_gradients(rnn_jax.truncate(word_model(100, 10), kind), seed=seed)


def verdict(check: GradientReport) -> str:
    """The largest relative error, and whether it is too large."""
    worst = max(array.largest_relative_error for array in check.arrays)
    return f"{worst:.1e}" + ("" if check.passed else ", FAILED")


def points(rows: list[Row]) -> tuple[list[int], list[float]]:
    """Sentences seen and loss."""
    return [row["seen"] for row in rows], [row["loss"] for row in rows]


def means(ends: Row, part: slice) -> list[str]:
    """The mean over some places, for each truncation."""
    return [f"{np.nanmean(nats[part]):.3f}" for _, nats in ends.values()]


def saved(folder: RecipeFolder, name: str) -> Path:
    """Where the parameters trained with a truncation lie."""
    return folder.path / f"{name.replace(':', '-')}.npz"


def step_times(options: Options) -> dict[str, float]:
    """Milliseconds of a step on 45 random words at V = 8000, H = 100, of NumPy and of each kind.

    They are measured in turns, NumPy a step and the kinds a pass over some sentences.
    """
    work = Workload(sentences=20 if options.quick else 200, seed=options.seed)
    loop = NumpyRNN(*(w.copy() for w in work.weights))
    x, y = work.tokens[0, :-1], work.tokens[0, 1:]
    calls: dict[str, Callable[[], Any]] = {}
    calls[NUMPY] = partial(loop.sgd_step, x, y, work.learning_rate, work.window)
    for name, kind in options.kinds.items():
        calls[name] = jax_scan(work, kind).call
        calls[name]()  # compiles
    seconds = interleaved(calls, ROUNDS)
    steps = dict.fromkeys(calls, work.sentences) | {NUMPY: 1}
    return {name: 1e3 * min(seconds[name]) / steps[name] for name in calls}


def trained(
    model: Model, params: Params, sentences: text.Sentences, options: Options, name: str,
    folder: RecipeFolder, epochs: int, evaluate: Callable[[Params], float],
) -> tuple[list[Row], Params]:  # fmt: skip
    """Rows of the history and the last parameters of one training, reported as it goes."""
    print(f"\n{len(sentences):,} sentences, {name}")
    model = rnn_jax.truncate(model, options.kinds[name])
    rows: list[Row] = []

    def tell(now: Evaluation) -> None:
        print_evaluation(now)
        if rows and now.loss > rows[-1]["loss"]:
            print(f"Setting learning rate to {now.rate / 2:f}")
        rows.append({"sentences": len(sentences), "bptt": name, **now._asdict()})
        folder.history(rows[-1])

    last = train(
        model, params, sentences, evaluate=evaluate, epochs=epochs, rate=options.rate, tell=tell
    )
    return rows, last


def mean_loss(model: Model, sentences: text.Sentences) -> Callable[[Params], float]:
    """The summed loss over the number of words, as a function of the parameters."""
    data, totals = batched(sentences.by_length(), 16), rnn_jax.make_evaluate(model)

    def loss(params: Params) -> float:
        nats, words = totals(params, data)
        return float(nats / words)

    return loss


def losses_from_the_end(
    model: Model, sentences: text.Sentences, most: int = 20
) -> Callable[[Params], np.ndarray]:
    """The mean loss of the sentences' last prediction, of the last but one, and so on.

    Returns:
      A function of the parameters to ``float[most]``; the first is the loss of predicting the
      sentence's end, and NaN stands where no sentence is long enough.
    """
    data = batched(sentences.by_length(), 16)

    @jax.jit
    def totals(params: Params) -> Array:
        def consume(sums: Array, batch: rnn_jax.Batch) -> Array:
            mask = batch.mask
            assert mask is not None  # a stream of sentences is padded
            _, logits = model.apply(params, None, batch.inputs, mask=mask)
            losses = rnn_jax.cross_entropy(logits, batch.targets, mask=mask, reduction="none")
            left = mask.sum(axis=0)[None] - 1 - jnp.arange(len(mask))[:, None]
            place = jnp.where(mask, left, most)  # a place of `most` or more is dropped
            return sums.at[:, place].add(jnp.stack([losses, mask.astype(losses.dtype)]))

        def body(index: Array, sums: Array) -> Array:
            return data.visit(index, consume, sums)

        return jax.lax.fori_loop(0, data.count, body, jnp.zeros((2, most)))

    def means(params: Params) -> np.ndarray:
        nats, words = np.asarray(totals(params))
        return np.divide(nats, words, out=np.full(most, np.nan, nats.dtype), where=words > 0)

    return means
