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
import numpy as np

import rnn_jax
from rnn_jax import interop, text
from rnn_jax.recipes.figure import line_figure
from rnn_jax.recipes.folder import RecipeFolder
from rnn_jax.recipes.options import RecipeOptions, option
from rnn_jax.recipes.word_training import (
    losses_from_the_end,
    mean_loss,
    report,
    train,
    word_model,
)
from rnn_jax.reference import NumpyRNN
from rnn_jax.reference_step import Workload
from rnn_jax.runs import TrainConfig, check_gradients, sample_texts
from rnn_jax.types import Params

__all__ = ["Options", "run"]

# The tutorial's part 2: the loss before each of ten passes over 100 sentences; a step's time.
LOSSES = (
    8.987425, 8.976270, 8.960212, 8.930430, 8.862264,
    6.913570, 6.302493, 6.014995, 5.833877, 5.710718,
)  # fmt: skip
NUMPY = "NumPy's double loop"
STEP_MS = {NUMPY: 180.0, "tail:4": 73.7}
Row = dict[str, Any]


@dataclass(frozen=True)
class Options(RecipeOptions):
    """On what, with which truncations, for how long."""

    bptt: str = option("sliding:4,tail:4", "Truncations to train with, commas between.")
    corpus: str = option("python-docs", "Name of a corpus, or path of a .txt or .csv file.")
    epochs: int = option(10, "Passes over the whole text.")
    vocab_size: int | None = option(None, "Words in the vocabulary; default: at most 8000.")
    hidden_size: int = option(100, "Hidden units.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "epochs", "hidden_size")
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
    vocabulary, sentences = read_sentences(options.corpus, options.vocab_size)
    model = word_model(len(vocabulary), options.hidden_size)
    params = model.init(jax.random.key(options.seed))
    whole = sentences.subset(0, 1000) if options.quick else sentences
    evaluate, from_the_end = mean_loss(model, whole), losses_from_the_end(model, whole)
    print(f"\nExpected Loss for random predictions: {np.log(len(vocabulary)):f}")
    print(f"Actual loss: {evaluate(params):f}\n")
    checked = check_gradients(word_model(100, 10), seed=options.seed)
    print(f"{checked}\n")
    times = step_times(options)
    for name, milliseconds in times.items():
        print(f"one SGD step, {name}: {milliseconds:.3g} ms")

    first, epochs = next(iter(options.kinds)), 2 if options.quick else options.epochs
    hundred = sentences.subset(0, 100)
    rows, _ = trained(model, params, hundred, options, first, 9, mean_loss(model, hundred))
    few = [row["loss"] for row in rows]
    losses: dict[str, Any] = {}
    ends: dict[str, Any] = {}
    for name in options.kinds:
        new, last = trained(model, params, whole, options, name, epochs, evaluate)
        rows += new
        folder.history(rows)
        interop.save_uvw(saved(folder, name), last)
        losses[name] = [row["examples"] for row in new], [row["loss"] for row in new]
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
    table = [[f"gradient check of {count:,} parameters, V=100, H=10", "all pass", verdict]]
    for name, milliseconds in times.items():
        published = f"{STEP_MS[name]:g}" if name in STEP_MS else "-"
        table.append([f"one SGD step, {name} (ms)", published, f"{milliseconds:.3g}"])
    for i, (published_loss, loss) in enumerate(zip(LOSSES, few, strict=True)):
        what = f"100 sentences, {first}, loss after {i} epochs"
        table.append([what, f"{published_loss:.6f}", f"{loss:.6f}"])
    for name, (_, ys) in losses.items():
        what = f"{len(whole):,} sentences, {name}, loss after {epochs} epochs"
        table.append([what, "-", f"{ys[-1]:.3f}"])
        for label, part in (
            ("of the last four words", slice(0, 4)),
            ("of 16 before", slice(4, 20)),
        ):
            table.append([f"... {label}", "-", f"{np.nanmean(ends[name][1][part]):.3f}"])
    folder.close(["", "published", "here"], table)


def saved(folder: RecipeFolder, name: str) -> Path:
    """Where the parameters of a training lie."""
    return folder.path / f"{name.replace(':', '-')}.npz"


def read_sentences(corpus: str, vocab_size: int | None) -> tuple[text.Vocabulary, text.Sentences]:
    """The text as sentences of numbers; prints what the tutorial prints on the way."""
    tokenized = text.tokenize_corpus(text.read_documents(corpus))
    counts = tokenized.counts()
    vocabulary = text.reference_vocabulary(counts, vocab_size)
    sentences = text.encode_sentences(tokenized, vocabulary)
    rarest = vocabulary.tokens[-2]
    x, y = sentences.pair(min(1, len(sentences) - 1))
    print(
        f"Parsed {len(sentences)} sentences.\nFound {len(counts)} unique words tokens.\n"
        f"Using vocabulary size {len(vocabulary)}.\nThe least frequent word in our vocabulary is "
        f"'{rarest}' and appeared {counts[rarest]} times.\n"
        f"x:\n{' '.join(vocabulary.decode(x))}\n{x.tolist()}\n"
        f"y:\n{' '.join(vocabulary.decode(y))}\n{y.tolist()}"
    )
    return vocabulary, sentences


def step_times(options: Options) -> dict[str, float]:
    """Milliseconds of a step at V = 8000, H = 100 on sentences of 45 random words."""
    work = Workload(sentences=20 if options.quick else 200, seed=options.seed)
    loop, seconds = NumpyRNN(*(array.copy() for array in work.weights)), []
    for sentence in work.tokens[:5]:
        began = time.perf_counter()
        loop.sgd_step(sentence[:-1], sentence[1:], work.learning_rate, work.window)
        seconds.append(time.perf_counter() - began)
    times = {NUMPY: 1e3 * min(seconds)}
    model = word_model(work.vocab_size, work.hidden_size)
    params = jax.tree.map(lambda w: w.astype(np.float32), interop.from_uvw(*work.weights))
    offsets = np.arange(work.sentences + 1) * (work.length + 1)
    sentences = text.Sentences(work.tokens.ravel(), offsets)
    for name, kind in options.kinds.items():
        history = train(model, params, sentences, bptt=kind, epochs=4, evaluate=lambda _: 0.0)
        # The first pass compiles.
        times[name] = 1e3 * min([row.seconds for row in history][2:]) / work.sentences
    return times


def trained(
    model: Any, params: Params, sentences: text.Sentences, options: Options, name: str,
    epochs: int, evaluate: Callable[[Params], float],
) -> tuple[list[Row], Params]:  # fmt: skip
    """Rows of the history and the last parameters of one training, reported as it goes."""
    print(f"\n{len(sentences):,} sentences, {name}")
    rows: list[Row] = []
    last = params
    for row in train(
        model, params, sentences, bptt=options.kinds[name], epochs=epochs, evaluate=evaluate
    ):
        report(row)
        values = {"epoch": row.epoch, "examples": row.seen, "loss": row.loss}
        values |= {"learning_rate": row.learning_rate, "seconds": row.seconds}
        rows.append({"sentences": len(sentences), "bptt": name, **values})
        last = row.params
    return rows, last
