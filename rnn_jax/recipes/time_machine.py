"""Dive into Deep Learning's recurrent networks on The Time Machine, from tanh to 32 layers of LSTM.

A character (or word) model on the book's first 10,000 tokens: SGD on windows of 35 steps, 32 rows,
gradients scaled to norm 1, perplexity and tokens a second after each epoch, and at last the book
recited from "time traveller". With --whole-book a tenth is held out, which the original never did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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
from rnn_jax.recipes.time_machine_models import MODELS
from rnn_jax.training.batches import consecutive, stacked
from rnn_jax.training.progress import perplexity_of
from rnn_jax.types import Array, Model, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Options", "run"]

PREFIX = "time traveller"
BATCH, STEPS = 32, 35
TINY = np.finfo(np.float32).tiny
SHOWN_NORMS = ("lstm", "lstm-2", "lstm-32", "lstm-32-residual")


@dataclass(frozen=True)
class Options(RecipeOptions):
    """Which models, on what, for how long."""

    models: str = option("all", f"all, or some of {', '.join(MODELS)}, with commas between.")
    level: Literal["char", "word"] = option("char", "Unit of the text.")
    whole_book: bool = option(False, "Train on nine tenths of the book and evaluate on the last.")
    epochs: int = option(500, "Passes over the training text; models of 32 layers make fewer.")
    hidden_size: int = option(256, "Hidden units of a layer.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "epochs", "hidden_size")
        for name in self.names:
            if name not in MODELS:
                raise ValueError(
                    f"--models {name} is unknown: choose all, or some of {', '.join(MODELS)}"
                )

    @property
    def names(self) -> list[str]:
        """The models in the order asked for."""
        return list(MODELS) if self.models == "all" else self.models.split(",")


def run(options: Options, folder: RecipeFolder) -> None:
    """Train the models one after the other, and compare them with what the book printed."""
    book = read_book(options.level, whole=options.whole_book)
    print(f"{len(book.training):,} tokens to train on, vocabulary {len(book.vocabulary):,}")
    results: dict[str, Trained] = {}
    for name in options.names:
        print(f"\n{name}\n  epoch  perplexity  tokens/s")
        results[name] = train(
            name, book, folder.history, seed=options.seed,
            hidden_size=min(options.hidden_size, 64) if options.quick else options.hidden_size,
            epochs=min(options.epochs, 20) if options.quick else options.epochs,
        )  # fmt: skip
    folder.figure("perplexity", perplexity_figure(results))
    if len(book.held_out):
        folder.figure("held-out-perplexity", perplexity_figure(results, "held_out_perplexity"))
    if any(result.norms for result in results.values()):
        folder.figure("gradient-norms", norms_figure(results))
    as_published = options.level == "char" and not options.whole_book
    table = [summary(name, result, as_published) for name, result in results.items()]
    folder.close(list(table[0]), [list(row.values()) for row in table])


@dataclass(frozen=True, eq=False)
class Book:
    """The tokens to train on, those held out (none but with the whole book), and what they mean."""

    vocabulary: text.Vocabulary
    training: np.ndarray
    held_out: np.ndarray
    level: str

    def epoch(self, seed: int, number: int, *, random: bool) -> rnn_jax.Windows:
        """The batches of one epoch, cut anew at a random offset."""
        return stacked(self._cut(seed, number, random))

    def epochs(self, seed: int, *, random: bool) -> Callable[[int], tuple[rnn_jax.Windows, int]]:
        """One epoch after the other for `fit`, all of one shape, and how many batches each has."""
        most = (len(self.training) - 1) // BATCH // STEPS

        def epoch(done: int) -> tuple[rnn_jax.Windows, int]:
            pairs = list(self._cut(seed, done + 1, random))
            return stacked(pairs, most), len(pairs)

        return epoch

    def _cut(self, seed: int, number: int, random: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        cut = text.random_batches if random else text.sequential_batches
        return cut(self.training, BATCH, STEPS, np.random.default_rng((seed, number)))

    def continued(self, model: Model, params: Params) -> str:
        """`PREFIX` and the 50 tokens that a model deems most probable after it."""
        prefix = list(PREFIX) if self.level == "char" else PREFIX.split()
        ids = jnp.asarray(self.vocabulary.encode(prefix))
        _, new = rnn_jax.generate(
            model, params, None, ids, length=50, key=jax.random.key(0), temperature=0
        )
        joint = "" if self.level == "char" else " "
        return joint.join([*prefix, *self.vocabulary.decode(np.asarray(new))])


def read_book(level: Literal["char", "word"], *, whole: bool) -> Book:
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
    name: str, book: Book, keep: Callable[[Row], None],
    *, hidden_size: int, epochs: int, seed: int,
) -> Trained:  # fmt: skip
    """One of `MODELS`, from fresh parameters to its continuation of `PREFIX`; keeps every row."""
    spec = MODELS[name]
    model = rnn_jax.language_model(len(book.vocabulary), spec.layer(hidden_size))
    truncated = model if isinstance(spec.bptt, rnn_jax.Full) else rnn_jax.truncate(model, spec.bptt)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), spec.optimizer(spec.rate))
    params = model.init(jax.random.key(seed))
    norms: dict[str, list[float]] = {}
    rows: list[Row] = []
    if name in SHOWN_NORMS:
        norms["before training"] = gradient_norms(model, params, book, seed)
    epochs = max(1, round(epochs * spec.share))

    def tell(metrics: Row, _: Params) -> None:
        epoch = metrics["epoch"]
        if epoch == 0:
            return  # the held-out text before training
        row = {"model": name, "epoch": epoch, "perplexity": perplexity_of(metrics["train_loss"])}
        row["tokens_per_second"] = metrics["tokens_per_second"]
        if metrics["loss"] is not None:
            row["held_out_perplexity"] = perplexity_of(metrics["loss"])
        rows.append(row)
        keep(row)
        if epoch % max(1, epochs // 5) == 0:
            report(row)

    state, _ = fit(
        truncated, optimizer, book.epochs(seed, random=spec.random),
        epochs=epochs, params=params, key=jax.random.key(seed + 1), stateful=not spec.random,
        validation=held_out_loss(model, book) if len(book.held_out) else None, listeners=[tell],
    )  # fmt: skip
    if model.causal:
        print(f"  {book.continued(model, state.params)}")
    if name in SHOWN_NORMS:
        norms["after training"] = gradient_norms(model, state.params, book, seed)
        keep({"model": name, "gradient_norms": norms})
        for when, values in norms.items():
            low, high = values[0], values[-1]
            print(
                f"  gradient {when}: norm {low:.2g} in the lowest layer, {high:.2g} in the highest"
            )
    return Trained(rows, norms)


def held_out_loss(model: Model, book: Book) -> Callable[[Params], float]:
    """The mean loss on the held-out text, read in four rows from its beginning to its end."""
    data, totals = consecutive(book.held_out, 4, STEPS), rnn_jax.make_evaluate(model)

    def loss(params: Params) -> float:
        nats, tokens = totals(params, data, model.initial_carry((4,), params))
        return float(nats / tokens)

    return loss


def report(row: Row) -> None:
    """Print a row of the history."""
    held_out = row.get("held_out_perplexity")
    print(
        f"{row['epoch']:7} {row['perplexity']:11.3f} {row['tokens_per_second']:9,}"
        + (f"   held out {held_out:.3f}" if held_out else ""),
        flush=True,
    )


def summary(name: str, result: Trained, as_published: bool) -> dict[str, str]:
    """A model's row of the table published / here; the book knows only the first characters."""
    published = MODELS[name].published if as_published else None

    def last_and_lowest(key: str) -> str:
        values = [row[key] for row in result.rows]
        return f"{values[-1]:.3f} ({min(values):.3f})"

    row = {
        "model": name,
        "epochs": str(len(result.rows)),
        "perplexity, published": f"{published[0]:.1f}" if published else "-",
        "here: last (lowest)": last_and_lowest("perplexity"),
    }
    if "held_out_perplexity" in result.rows[-1]:
        row["held out: last (lowest)"] = last_and_lowest("held_out_perplexity")
    row["tokens/s, published (GPU)"] = f"{published[1]:,.0f}" if published else "-"
    speed = np.median([row["tokens_per_second"] for row in result.rows])
    return {**row, "tokens/s, here": f"{speed:,.0f}"}


def gradient_norms(model: Model, params: Params, book: Book, seed: int) -> list[float]:
    """The norm of the loss's gradient in each layer's parameters, from the lowest, on one batch."""
    data = book.epoch(seed, 0, random=False)

    @jax.jit
    def by_layer(params: Params) -> list[Array]:
        def loss(params: Params) -> Array:
            _, logits = model.apply(params, None, data.inputs[0])
            return rnn_jax.cross_entropy(logits, data.targets[0])

        layers = jax.grad(loss)(params)["layer"]
        return [norm(layers[str(i)]) for i in range(len(layers))]

    def norm(gradient: Params) -> Array:
        # The squares of what vanishes through 32 layers lie below the smallest float32.
        largest = optax.tree.norm(gradient, ord=jnp.inf) + TINY
        return largest * optax.tree.norm(jax.tree.map(lambda leaf: leaf / largest, gradient))

    return [float(size) for size in by_layer(params)]


def perplexity_figure(results: dict[str, Trained], key: str = "perplexity") -> Figure:
    """Perplexity against the epoch, a line a model."""
    lines = {
        name: ([row["epoch"] for row in result.rows], [row[key] for row in result.rows])
        for name, result in results.items()
    }
    return line_figure(lines, xlabel="epoch", ylabel=key.replace("_", " "), log=True)


def norms_figure(results: dict[str, Trained]) -> Figure:
    """Norm of the gradient against the layer, before and after training."""
    lines = {
        f"{name}, {when}": (range(1, len(norms) + 1), norms)
        for name, result in results.items()
        for when, norms in result.norms.items()
    }
    return line_figure(
        lines, xlabel="layer, from the lowest", ylabel="norm of the gradient", log=True
    )
