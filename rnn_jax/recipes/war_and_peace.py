"""A character model of War and Peace, in the set-up of Karpathy, Johnson and Fei-Fei (2015).

Rows of 100, windows of 100 with the state carried on, RMSProp at 2e-3 with decay 0.95, the rate
times 0.95 an epoch after the tenth, parameters uniform in ±0.08, 80/10/10 % of the text to train,
validate and test on. Gradients are clipped to ±5, as in the authors' char-rnn. The text is another
edition than theirs (3.21 million characters, not 3.26), so their figures are neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

import rnn_jax
from rnn_jax import text
from rnn_jax.host.files import Row
from rnn_jax.recipes.figure import line_figure
from rnn_jax.recipes.folder import RecipeFolder
from rnn_jax.recipes.options import RecipeOptions, option
from rnn_jax.recipes.war_and_peace_torch import import_torch, train_in_torch
from rnn_jax.recipes.war_and_peace_training import (
    BATCH,
    STEPS,
    Epoch,
    initial_parameters,
    make_model,
    train,
)
from rnn_jax.training.batches import consecutive
from rnn_jax.types import Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Options", "run"]

QUICK_CHARACTERS, QUICK_EPOCHS = 250_000, 2
PUBLISHED = (
    ("the paper's best network", 1.077),
    ("the paper's 20-gram model", 1.195),
)


@dataclass(frozen=True)
class Options(RecipeOptions):
    """The text, the network, and how long it is trained."""

    corpus: str = option("war-and-peace", "Name of a corpus, or path of a file or a folder.")
    column: str = option("body", "Column of a table, or key of a record, that holds the text.")
    cell: Literal["tanh", "gru", "lstm"] = option("lstm", "Recurrent cell.")
    hidden_size: int = option(128, "Hidden units of a layer.")
    layers: int = option(1, "Recurrent layers.")
    epochs: int = option(50, "Passes over the training text, at most.")
    minutes: float = option(0.0, "Training time, evaluations not counted; 0: no bound.")
    torch: bool = option(False, "Train the same in PyTorch, and print its loss and time beside.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "hidden_size", "layers", "epochs")
        if not 0 <= self.minutes < math.inf:
            raise ValueError(f"--minutes must be finite and at least 0, not {self.minutes}")


@dataclass(frozen=True, eq=False)
class Parts:
    """The text in windows that continue each other: 80 % to train on, 10 % and 10 %."""

    vocabulary: text.Vocabulary
    training: rnn_jax.Windows
    validation: rnn_jax.Windows
    test: rnn_jax.Windows


def read_parts(options: Options) -> Parts:
    """The corpus, or with --quick its first characters."""
    documents = text.read_documents(options.corpus, column=options.column)
    ids, vocabulary = text.character_corpus(documents.texts, letters_only=False)
    ids = ids[:QUICK_CHARACTERS] if options.quick else ids
    cuts = len(ids) * 8 // 10, len(ids) * 9 // 10
    return Parts(vocabulary, *(consecutive(part, BATCH, STEPS) for part in np.split(ids, cuts)))


def run(options: Options, folder: RecipeFolder) -> None:
    """Train, take the epoch with the lowest validation loss, and evaluate it on the test part."""
    if options.torch:
        import_torch()  # whatever is missing must not come out at the end
    parts = read_parts(options)
    data = parts.training
    print(f"{data.targets.size:,} characters to train on, {len(parts.vocabulary)} different ones")
    model = make_model(len(parts.vocabulary), options.cell, options.hidden_size, options.layers)
    params = initial_parameters(model, options.seed)
    evaluate = rnn_jax.make_evaluate(model)

    def loss(params: Params, part: rnn_jax.Windows) -> float:
        nats, count = evaluate(params, part, model.initial_carry((part.batch_size,), params))
        return float(nats / count)

    def validate(params: Params) -> float:
        return loss(params, parts.validation)

    rows: list[Row] = []

    def follow(library: str) -> Callable[[Epoch], None]:
        """A heading, and what prints and keeps every epoch."""
        print(f"\n{library}\n  epoch  steps  train loss  validation  characters/s")

        def tell(epoch: Epoch) -> None:
            speed = round(epoch.steps * BATCH * STEPS / (epoch.seconds or math.inf))
            print(
                f"{epoch.number:7} {epoch.steps:6} {epoch.train_loss:11.4f} "
                f"{epoch.validation_loss:11.4f} {speed:13,}",
                flush=True,
            )
            told = asdict(epoch)
            rows.append({"library": library, "epoch": told.pop("number"), **told})
            folder.history(rows[-1])

        return tell

    def seconds(library: str) -> str:
        """Those of all epochs."""
        return f"{sum(row['seconds'] for row in rows if row['library'] == library):,.1f}"

    best = train(
        model, params, data, validate, follow("rnn_jax"),
        epochs=min(options.epochs, QUICK_EPOCHS) if options.quick else options.epochs,
        seconds=60 * options.minutes or math.inf,
    )  # fmt: skip
    size = f"{options.layers} x {options.hidden_size} {options.cell}"
    table = [(name, f"{value:.3f}", "-", "-") for name, value in PUBLISHED]
    test = loss(best, parts.test)
    table.append((f"{size}, rnn_jax", "-", f"{test:.3f}", seconds("rnn_jax")))
    if options.torch:
        steps = [row["steps"] for row in rows]
        best = train_in_torch(
            model, options.cell, params, data, validate, follow("PyTorch"), steps=steps
        )
        test = loss(best, parts.test)
        table.append((f"{size}, PyTorch", "-", f"{test:.3f}", seconds("PyTorch")))
    folder.figure("loss", loss_figure(rows))
    folder.close(("test cross-entropy, nats a character", "published", "here", "seconds"), table)


def loss_figure(rows: list[Row]) -> Figure:
    """Training and validation loss against the epoch."""
    lines = {}
    for library in dict.fromkeys(row["library"] for row in rows):
        mine = [row for row in rows if row["library"] == library]
        for key in ("train_loss", "validation_loss"):
            points = [row["epoch"] for row in mine], [row[key] for row in mine]
            lines[f"{library}, {key.replace('_', ' ')}"] = points
    return line_figure(lines, xlabel="epoch", ylabel="cross-entropy (nats per character)")
