"""What it takes for 32 layers of LSTM to learn: one way of stacking after the other.

Dive into Deep Learning stacks LSTMs on The Time Machine's first 10,000 characters. Its stack stays
at the frequencies of the letters when it is 32 layers high, for a layer hands on about a quarter of
the signal it reads and of the gradient it gets. Each model here differs from that stack in one
thing; compared are the gradients of a fresh model and the perplexity after so many epochs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnn_jax
from rnn_jax.recipes.figure import line_figure
from rnn_jax.recipes.fit import fit
from rnn_jax.recipes.folder import RecipeFolder
from rnn_jax.recipes.options import RecipeOptions, option
from rnn_jax.recipes.time_machine import Book, read_book
from rnn_jax.training.progress import perplexity_of
from rnn_jax.types import Along, Array, Carry, Layer, Model, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["STACKS", "Options", "Repeated", "run"]

OPTIMIZERS = {"adam": optax.adam(0.002), "sgd": optax.sgd(2.0)}
TORCH: dict[str, Any] = {"w_ih_init": "uniform_fan_out", "w_hh_init": "uniform_fan_out"}
BIASES: dict[str, Any] = {"b_init": "uniform_fan_out", "recurrent_bias": True}


@dataclass(frozen=True)
class Repeated(rnn_jax.BaseLayer):
    """``count`` layers of one form on top of each other, compiled once for all of them.

    Parameters and carry are the layer's with an axis of ``count`` in front. A layer of this
    recipe's own: it runs whole sequences, and has no carry after every step.
    """

    layer: rnn_jax.BaseLayer
    count: int

    @property
    def output_size(self) -> int | None:
        """That of the layer, which is the size of its inputs."""
        return self.layer.output_size

    def init(self, key: Array, input_size: int) -> Params:
        """The parameters of all layers, each drawn by itself."""
        layer: Any = self.layer
        return jax.vmap(lambda k: layer.init(k, input_size))(jax.random.split(key, self.count))

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The initial carry of every layer."""
        one = self.layer.initial_carry(batch_shape)
        return jax.tree.map(lambda c: jnp.broadcast_to(c, (self.count, *c.shape)), one)

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """Every layer on the outputs of the one below."""

        def one(xs: Array, layer: tuple[Params, Carry]) -> tuple[Array, Carry]:
            carry, ys = self.layer.run(*layer, xs, along, every=every)
            return ys, carry

        ys, carry = jax.lax.scan(one, xs, (params, carry))
        return carry, ys


@dataclass(frozen=True)
class _Scaled(rnn_jax.BaseLayer):
    """The input times a constant."""

    factor: float

    def init(self, key: Array, input_size: int) -> Params:
        return {}

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        return (), self.factor * xs


def _lstm(size: int, **options: Any) -> rnn_jax.Recurrent:
    return rnn_jax.recurrent(rnn_jax.lstm(size, **{**TORCH, **BIASES, **options}))


def _normed(size: int) -> rnn_jax.Recurrent:
    return rnn_jax.recurrent(rnn_jax.lstm(size, layer_norm=True, **TORCH))


def _orthogonal(gain: float) -> Callable[..., Array]:
    return jax.nn.initializers.orthogonal(gain)


def _stack(
    block: Callable[..., rnn_jax.BaseLayer],
    lowest: Callable[[int], Layer] = _lstm,
    top: tuple[Layer, ...] = (),
) -> Callable[[int, int], Layer]:
    """One layer that reads characters, and blocks ``block(H, depth)`` above it."""
    return lambda size, depth: rnn_jax.serial(
        lowest(size), Repeated(block(size, depth), depth - 1), *top
    )


def _all(lstm: Callable[[int], rnn_jax.Recurrent]) -> Callable[[int, int], Layer]:
    return _stack(lambda size, _: lstm(size), lstm)


# name: what it changes, and the stack from hidden size and depth
STACKS: dict[str, tuple[str, Callable[[int, int], Layer]]] = {
    "plain": ("D2L's", _all(_lstm)),
    "forget-bias": ("forget bias 1", _all(lambda size: _lstm(size, forget_bias=1.0))),
    "orthogonal": (
        "orthogonal matrices, forget bias 1",
        _all(
            lambda size: _lstm(
                size, w_ih_init="orthogonal", w_hh_init="orthogonal", forget_bias=1.0
            )
        ),
    ),
    "orthogonal-4": (
        "the same, input matrix times 4, biases zero",
        _all(
            lambda size: _lstm(
                size, w_ih_init=_orthogonal(4.0), w_hh_init="orthogonal", b_init="zeros",
                forget_bias=1.0,
            )
        ),
    ),
    "layer-norm-cell": ("layer norm inside the cell", _all(_normed)),
    "layer-norm": (
        "layer norm between the layers",
        _stack(
            lambda size, _: rnn_jax.serial(rnn_jax.layer_norm(), _lstm(size)),
            top=(rnn_jax.layer_norm(),),
        ),
    ),
    "residual": ("x + lstm(x)", _stack(lambda size, _: rnn_jax.residual(_lstm(size)))),
    "residual-scaled": (
        "x + lstm(x) / √depth",
        _stack(
            lambda size, depth: rnn_jax.residual(
                rnn_jax.serial(_lstm(size), _Scaled(depth**-0.5))
            )
        ),
    ),
    "residual-norm-cell": (
        "x + lstm(x), layer norm inside the cell",
        _stack(lambda size, _: rnn_jax.residual(_normed(size)), _normed),
    ),
    "pre-norm": (
        "x + lstm(LN(x)), LN on top",
        _stack(
            lambda size, _: rnn_jax.residual(rnn_jax.serial(rnn_jax.layer_norm(), _lstm(size))),
            top=(rnn_jax.layer_norm(),),
        ),
    ),
    "post-norm": (
        "LN(x + lstm(x))",
        _stack(
            lambda size, _: rnn_jax.serial(rnn_jax.residual(_lstm(size)), rnn_jax.layer_norm())
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Options(RecipeOptions):
    """Which ways of stacking, how high, for how long; D2L's own with two layers stands beside."""

    stacks: str = option("all", f"all, or some of {', '.join(STACKS)}, with commas between.")
    optimizer: Literal["adam", "sgd"] = option("adam", "Adam at 0.002, or D2L's SGD at 2.")
    depth: int = option(32, "Layers of a stack.")
    hidden_size: int = option(32, "Hidden units of a layer.")
    epochs: int = option(30, "Passes over the text.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "epochs", "hidden_size")
        self.at_least(2, "depth")
        for name in self.names:
            if name not in STACKS:
                raise ValueError(
                    f"--stacks {name} is unknown: choose all, or some of {', '.join(STACKS)}"
                )

    @property
    def names(self) -> list[str]:
        """The stacks in the order asked for."""
        return list(STACKS) if self.stacks == "all" else self.stacks.split(",")


def run(options: Options, folder: RecipeFolder) -> None:
    """Train one stack after the other, and compare their gradients and perplexities."""
    book = read_book("char", whole=False)
    depth, epochs = options.depth, options.epochs
    if options.quick:
        depth, epochs = min(depth, 8), min(epochs, 5)
    asked = [("2 layers", "D2L's", 2, STACKS["plain"][1])]
    asked += [(name, STACKS[name][0], depth, STACKS[name][1]) for name in options.names]
    norms, courses, table = {}, {}, []
    for name, change, layers, stack in asked:
        model = rnn_jax.language_model(len(book.vocabulary), stack(options.hidden_size, layers))
        params = model.init(jax.random.key(options.seed))
        fresh = gradient_norms(model, params, book, options.seed)
        course = train(model, params, book, options.optimizer, epochs, options.seed)
        print(f"{name:20} gradient {fresh[0]:.1e} … {fresh[-1]:.1e}, perplexity {course[-1]:.3f}")
        folder.history({"stack": name, "layers": layers, "gradient_norms": fresh})
        folder.history({"stack": name, "perplexity": course})
        norms[name], courses[name] = fresh, course
        low, high = (f"{norm:.1e}" for norm in (fresh[0], fresh[-1]))
        table.append([name, str(layers), change, "-", low, high, f"{course[-1]:.2f}"])
    folder.figure("gradient-norms", figure(norms, "layer, from the lowest", "norm of the gradient"))
    folder.figure("perplexity", figure(courses, "epoch", "perplexity"))
    head = ["stack", "layers", "each layer", "published", "gradient here: lowest layer", "highest"]
    folder.close([*head, f"perplexity after {epochs} epochs"], table)


def train(
    model: Model, params: Params, book: Book, optimizer: str, epochs: int, seed: int
) -> list[float]:
    """The perplexity of every epoch, the state carried through it as in time-machine."""
    clipped = optax.chain(optax.clip_by_global_norm(1.0), OPTIMIZERS[optimizer])
    data = book.epochs(seed, random=False)
    _, history = fit(model, clipped, data, epochs=epochs, params=params, stateful=True)
    return [perplexity_of(row["train_loss"]) for row in history.rows]


def gradient_norms(model: Model, params: Params, book: Book, seed: int) -> list[float]:
    """The norm of the loss's gradient in each layer's parameters, from the lowest, on one batch."""
    data = book.epoch(seed, 0, random=False)

    def loss(params: Params) -> Array:
        _, logits = model.apply(params, None, data.inputs[0])
        return rnn_jax.cross_entropy(logits, data.targets[0])

    layers = jax.device_get(jax.jit(jax.grad(loss))(params))["layer"]
    lowest, above = jax.tree.leaves(layers["0"]), jax.tree.leaves(layers["1"])
    # In float64: the squares of what vanishes through 32 layers lie below the smallest float32.
    return [
        float(np.sqrt(sum(np.square(leaf, dtype=float).sum() for leaf in leaves)))
        for leaves in (lowest, *zip(*above, strict=True))
    ]


def figure(lines: dict[str, list[float]], xlabel: str, ylabel: str) -> Figure:
    """A line a stack."""
    points = {name: (range(1, len(values) + 1), values) for name, values in lines.items()}
    return line_figure(points, xlabel=xlabel, ylabel=ylabel, log=True)
