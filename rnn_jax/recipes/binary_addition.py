"""Trask's sigmoid RNN that learns to add binary numbers, bit by bit.

Two numbers below 128 enter from their lowest bits up, 16 sigmoid units carry, one writes the sum;
gradient descent after each example. All examples run inside one compiled call, in float64, so that
with seed 0 the digits printed are those of the publication. At the end come all sums of the
training's range, and sums of 16 and 32 bits, which it never saw.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from rnn_jax.host.files import Row
from rnn_jax.recipes.figure import line_figure
from rnn_jax.recipes.folder import RecipeFolder
from rnn_jax.recipes.options import RecipeOptions, option
from rnn_jax.reference import NumpyAdder, draw_addends, to_bits
from rnn_jax.types import Array, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Options", "apply", "make_train", "run"]

BITS, RATE, EVERY = 8, 0.1, 1000
QUICK_EXAMPLES, NUMPY_EXAMPLES, LONG_SUMS = 20_000, 10_000, 10_000
# Error and sum of every 1,000th example, as printed in the publication (NumPy's seed 0).
PUBLISHED = (
    ("3.45638663", "9 + 60 = 1"),
    ("3.63389116", "28 + 35 = 255"),
    ("3.91366595", "116 + 44 = 72"),
    ("3.72191702", "4 + 73 = 223"),
    ("3.5852713", "71 + 11 = 8"),
    ("2.53352328", "81 + 113 = 162"),
    ("0.57691441", "81 + 0 = 81"),
    ("1.42589952", "4 + 125 = 129"),
    ("0.47477457", "39 + 17 = 56"),
    ("0.21595037", "11 + 3 = 14"),
)


@dataclass(frozen=True)
class Options(RecipeOptions):
    """Sizes of the network and of its training."""

    examples: int = option(100_000, "Sums to learn from.")
    hidden_size: int = option(16, "Hidden units.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "examples", "hidden_size")


def apply(params: Params, xs: Array) -> Array:
    """Bits of two numbers ``float[T, B, 2]`` to those of their sum, ``float[T, B]`` in 0 … 1."""
    cell = rnn_jax.elman(len(params["w_ho"]), activation=jax.nn.sigmoid, bias=False)
    _, states = rnn_jax.unroll(cell, params["cell"], None, xs)
    return jax.nn.sigmoid(states @ params["w_ho"])[..., 0]


def make_train(rate: float = RATE) -> Any:
    """``(params, xs [N, T, 2], ys [N, T]) -> (params, (errors [N], bits [N, T]))``, compiled."""

    def learn(params: Params, example: tuple[Array, Array]) -> tuple[Params, tuple[Array, Array]]:
        xs, ys = example

        def loss(params: Params) -> tuple[Array, Array]:
            outputs = apply(params, xs)
            return jnp.square(ys - outputs).sum() / 2, outputs

        gradients, outputs = jax.grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
        return params, (jnp.abs(ys - outputs).sum(), jnp.round(outputs).astype(int))

    return jax.jit(lambda params, xs, ys: jax.lax.scan(learn, params, (xs, ys)))


def run(options: Options, folder: RecipeFolder) -> None:
    """Train, print as the original does, and try all sums and longer ones."""
    count = min(options.examples, QUICK_EXAMPLES) if options.quick else options.examples
    rng = np.random.RandomState(options.seed)  # the generator of the publication
    adder = NumpyAdder.init(rng, options.hidden_size)
    addends = draw_addends(rng, count, BITS)
    with jax.enable_x64(True):
        params = {"cell": {"w_ih": adder.w_ih, "w_hh": adder.w_hh}, "w_ho": adder.w_ho}
        params = jax.tree.map(lambda leaf: jnp.array(leaf), params)
        xs, ys = (jnp.asarray(np.moveaxis(to_bits(n, BITS), 0, 1), float) for n in
                  (addends, addends.sum(axis=1)))  # fmt: skip
        train = make_train().lower(params, xs, ys).compile()
        began = time.perf_counter()
        params, (errors, bits) = train(params, xs, ys)
        errors, bits = np.asarray(errors), np.asarray(bits)  # waits for the end
        seconds = time.perf_counter() - began
        right = {BITS: right_sums(params, all_addends(), BITS)}
        for longer in (2 * BITS, 4 * BITS):
            right[longer] = right_sums(params, draw_addends(rng, LONG_SUMS, longer), longer)
    rows = [row(i, addends[i], errors, bits) for i in range(0, count, EVERY)]
    for i, line in zip(range(0, count, EVERY), rows, strict=True):
        print_block(line, bits[i])
    numpy_errors, numpy_seconds = time_numpy(adder, addends[:NUMPY_EXAMPLES])
    difference = np.abs(numpy_errors - errors[: len(numpy_errors)]).max()
    print(f"{count:,} examples in one call: {seconds:.2f} s")
    print(
        f"NumPy, the first {len(numpy_errors):,}: {numpy_seconds:.2f} s; "
        f"its errors differ by {difference:.1e} at most"
    )
    folder.history(*rows)
    folder.figure("error", error_figure(errors, (bits != np.asarray(ys)).any(axis=1)))
    table = [
        [f"error and sum, example {i * EVERY:,}", ", ".join(PUBLISHED[i]), shown(line)]
        for i, line in enumerate(rows[: len(PUBLISHED)])
    ]
    for length, (good, total) in right.items():
        what = "all sums" if length == BITS else "random sums"
        table.append([f"{what} of {length} bits that are right", "-", f"{good:,} of {total:,}"])
    table.append(["NumPy, µs an example", "-", f"{1e6 * numpy_seconds / len(numpy_errors):,.0f}"])
    table.append(["rnn_jax, µs an example", "-", f"{1e6 * seconds / count:,.1f}"])
    folder.close(["", "published", "here"], table)


def all_addends() -> np.ndarray:
    """Every pair that training may draw."""
    numbers = np.arange(2 ** (BITS - 1))
    return np.stack(np.meshgrid(numbers, numbers), axis=-1).reshape(-1, 2)


def right_sums(params: Params, addends: np.ndarray, bits: int) -> tuple[int, int]:
    """How many of the sums of ``int[N, 2]`` are right in every bit, and ``N``."""
    outputs = jax.jit(apply)(params, jnp.asarray(to_bits(addends, bits), float))
    right = np.round(outputs) == to_bits(addends.sum(axis=1), bits)
    return int(right.all(axis=0).sum()), len(addends)


def time_numpy(adder: NumpyAdder, addends: np.ndarray) -> tuple[np.ndarray, float]:
    """The errors that the published NumPy code makes on the same examples, and its seconds."""
    began = time.perf_counter()
    errors = [adder.step(a, b, bits=BITS, rate=RATE)[0] for a, b in addends.tolist()]
    return np.array(errors), time.perf_counter() - began


def row(i: int, addends: np.ndarray, errors: np.ndarray, bits: np.ndarray) -> Row:
    """What the history keeps of example ``i``."""
    a, b = addends.tolist()
    total = int(bits[i] @ 2 ** np.arange(BITS))
    mean = float(errors[i : i + EVERY].mean())
    return {"example": i, "error": float(errors[i]), "a": a, "b": b, "sum": total, "mean": mean}


def print_block(line: Row, bits: np.ndarray) -> None:
    """The lines that the original prints."""
    print(f"Error:[{line['error']:.8f}]")
    print(f"Pred:{bits[::-1]}")
    print(f"True:{to_bits(line['a'] + line['b'], BITS)[::-1]}")
    print(f"{line['a']} + {line['b']} = {line['sum']}\n------------")


def shown(line: Row) -> str:
    """Error and sum as the table has them."""
    return f"{np.round(line['error'], 8)}, {line['a']} + {line['b']} = {line['sum']}"


def error_figure(errors: np.ndarray, wrong: np.ndarray) -> Figure:
    """Mean error and percentage of wrong sums, over every 500 examples."""
    width = min(500, len(errors))
    ends = range(width, len(errors) + 1, width)

    def means(values: np.ndarray) -> list[float]:
        return [float(values[end - width : end].mean()) for end in ends]

    lines = {
        "absolute error, summed over the bits": (list(ends), means(errors)),
        "share of wrong sums": (list(ends), means(wrong)),
    }
    return line_figure(lines, xlabel="examples", ylabel=f"mean over {width} examples")
