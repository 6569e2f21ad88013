"""An encoder-decoder of GRUs that rewrites dates, or adds numbers, character by character.

The encoder reads a string of any length in both directions under a mask; its last states start the
decoder, which is trained by teacher forcing and then writes by itself, greedily and by beam search.
Counted are held-out strings written without one wrong character.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnn_jax
from rnn_jax.host.files import Row
from rnn_jax.recipes.figure import line_figure
from rnn_jax.recipes.fit import fit
from rnn_jax.recipes.folder import RecipeFolder
from rnn_jax.recipes.options import RecipeOptions, option
from rnn_jax.recipes.pairs import MARKER, TASKS, Encoded, encode
from rnn_jax.types import Array, Carry, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Options", "batches", "reader_and_writer", "run", "written"]

BATCH, BEAMS, SHOWN = 128, 4, 5
QUICK_EXAMPLES, QUICK_EPOCHS = 20_000, 5
# Keras' addition example: 50,000 questions of three digits, a tenth of them held out.
EXAMPLES = {"dates": 50_000, "addition": 50_000}
EPOCHS = {"dates": 5, "addition": 40}
PUBLISHED = {"dates": "-", "addition": "99 % (Keras' example, LSTM 128, 100 epochs)"}


@dataclass(frozen=True)
class Options(RecipeOptions):
    """The task, the sizes and the length of the training."""

    task: Literal["dates", "addition"] = option(
        "dates", "dates: to ISO 8601; addition: of numbers of three digits."
    )
    epochs: int = option(0, "Passes over the examples; 0: 5 for dates, 40 for addition.")
    hidden_size: int = option(128, "Units of the decoder, and of both directions together.")
    rate: float = option(0.004, "Largest learning rate.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "epochs")
        self.at_least(2, "hidden_size")
        self.above_zero("rate")


def run(options: Options, folder: RecipeFolder) -> None:
    """Train on nine tenths of the strings, and write the rest."""
    count = QUICK_EXAMPLES if options.quick else EXAMPLES[options.task]
    epochs = options.epochs or (QUICK_EPOCHS if options.quick else EPOCHS[options.task])
    rng = np.random.default_rng(options.seed)
    pairs = TASKS[options.task](rng, count)
    encoded, source_chars, target_chars = encode(pairs)
    train, held_out = encoded.part(slice(pairs.train)), encoded.part(slice(pairs.train, None))
    print(f"{pairs.train:,} strings to train on, such as {pairs.sources[0]!r}: {pairs.targets[0]}")

    model = reader_and_writer(len(source_chars) + 1, len(target_chars) + 1, options.hidden_size)
    steps = pairs.train // BATCH
    schedule = optax.warmup_cosine_decay_schedule(0.0, options.rate, steps, epochs * steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    # An epoch's batches are a function of its number; the generator's draws are not.
    orders = [jnp.asarray(rng.permutation(pairs.train)) for _ in range(epochs)]
    probe = held_out.part(slice(1000))
    rows: list[Row] = []

    def tell(metrics: Row, params: Params) -> None:
        row = {key: metrics[key] for key in ("epoch", "train_loss")}
        row["characters_per_second"] = metrics["tokens_per_second"]
        row["exact"] = float(right(written(model, params, probe), probe).all(0).mean())
        rows.append(row)
        folder.history(row)
        print(
            f"{row['epoch']:7} {row['train_loss']:11.4f} {row['exact']:16.1%} "
            f"{row['characters_per_second']:13,}",
            flush=True,
        )

    print("  epoch  train loss  held out, exact  characters/s")
    state, _ = fit(
        model, optimizer, lambda done: batches(train.part(orders[done]), BATCH), epochs=epochs,
        params=model.init(jax.random.key(options.seed)), listeners=[tell],
    )  # fmt: skip
    params = state.params
    greedy = right(written(model, params, held_out), held_out)
    beams, scores = written_by_beams(model, params, held_out)
    best = right(beams[..., 0], held_out)
    among = np.equal(beams, held_out.targets[1:, :, None]).all(0).any(-1)
    print("\nheld-out strings, the best beam and its log-probability:")
    for i in range(SHOWN):
        text = "".join(target_chars[c - 1] for c in beams[:, i, 0] if c != MARKER)
        print(f"  {pairs.sources[pairs.train + i]:30} {text:12} {scores[i, 0]:.4f}")
    folder.figure("training", training_figure(rows))
    folder.close(
        [f"{options.task}, held out", "published", "here"],
        [
            # As Keras counts: padded to the longest target, without a marker of the end.
            ["characters right, padding counted", PUBLISHED[options.task], percent(greedy[:-1])],
            ["strings right, greedy", "-", percent(greedy.all(0))],
            [f"strings right, {BEAMS} beams", "-", percent(best.all(0))],
            [f"the right one among the {BEAMS} beams", "-", percent(among)],
        ],
    )


def reader_and_writer(
    source_size: int, target_size: int, hidden_size: int
) -> rnn_jax.EncoderDecoder:
    """Both directions of a GRU over embeddings, and a GRU that starts from their last states."""
    half = rnn_jax.gru(hidden_size // 2)
    both = rnn_jax.bidirectional(rnn_jax.recurrent(half), rnn_jax.recurrent(half, reverse=True))
    decoder = rnn_jax.language_model(
        target_size, rnn_jax.recurrent(rnn_jax.gru(hidden_size)), embedding_size=16
    )
    encoder = rnn_jax.serial(rnn_jax.embedding(32), both)
    return rnn_jax.encoder_decoder(source_size, encoder, decoder, bridge=True)


def batches(data: Encoded, batch_size: int) -> rnn_jax.Windows:
    """The strings in their order, ``batch_size`` a batch, for teacher forcing; the rest is left."""
    count = len(data.source_lengths) // batch_size
    rows = jnp.arange(count * batch_size).reshape(count, batch_size)
    data = data.part(rows)
    sources, targets = (jnp.moveaxis(side, 1, 0) for side in (data.sources, data.targets))

    def mask(lengths: Array, steps: int) -> Array:
        return jax.vmap(lambda row: rnn_jax.length_mask(row, steps))(lengths)

    return rnn_jax.Windows(
        targets[:, :-1],
        targets[:, 1:],
        mask(data.target_lengths, targets.shape[1] - 1),
        source=sources,
        source_mask=mask(data.source_lengths, sources.shape[1]),
    )


def read(model: rnn_jax.EncoderDecoder, params: Params, batch: Encoded) -> Carry:
    """The decoder's carry after the sources."""
    mask = rnn_jax.length_mask(batch.source_lengths, len(batch.sources))
    return model.encode(params, batch.sources, mask)


def written(model: rnn_jax.EncoderDecoder, params: Params, data: Encoded) -> np.ndarray:
    """What the model writes, the most probable character at every step: ``int[T, N]``."""
    first, length = data.targets[:1], len(data.targets) - 1
    _, tokens = rnn_jax.generate(
        model, params, read(model, params, data), first, length=length, key=jax.random.key(0),
        temperature=0, stop=MARKER,
    )  # fmt: skip
    return np.asarray(tokens)


def written_by_beams(
    model: rnn_jax.EncoderDecoder, params: Params, data: Encoded
) -> tuple[np.ndarray, np.ndarray]:
    """What beam search finds, ``int[T, N, K]``, and the log-probabilities ``[N, K]``."""
    first, length = data.targets[:1], len(data.targets) - 1
    tokens, scores = rnn_jax.beam_search(
        model, params, read(model, params, data), first, beams=BEAMS, length=length, stop=MARKER
    )
    return np.asarray(tokens), np.asarray(scores)


def right(tokens: np.ndarray, data: Encoded) -> np.ndarray:
    """Which characters are right, ``bool[T, N]``; after the end both sides hold the marker."""
    return np.equal(tokens, data.targets[1:])


def percent(flags: np.ndarray | np.bool) -> str:
    """The share of True.

    Example:
      >>> percent(np.array([True, True, False, True]))
      '75.00 %'
    """
    return f"{100 * flags.mean():.2f} %"


def training_figure(rows: list[Row]) -> Figure:
    """Loss and exact matches against the epoch."""
    epochs = [row["epoch"] for row in rows]
    wrong = [max(1 - row["exact"], 5e-4) for row in rows]  # a logarithm has no place for none
    return line_figure(
        {
            "training loss (nats per character)": (epochs, [row["train_loss"] for row in rows]),
            "share of held-out strings with an error (none: 0.0005)": (epochs, wrong),
        },
        xlabel="epoch",
        ylabel="loss; share",
        log=True,
    )
