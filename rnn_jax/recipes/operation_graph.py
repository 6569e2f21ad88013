"""The word model as a graph of small operations, whose hand-written gradients jax.grad gives.

The article composes multiply, add and tanh gates, each with a backward pass of its own, into one
step, walks back from every word with two loops, and proposes one loop that carries dL/ds instead.
Here each level is held to reverse-mode differentiation in float64: the gates, the step, the
sentence truncated (`sliding`) and in full. Then the model learns 100 sentences, its loss being the
mean over sentences of the mean over their words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

import rnn_jax
from rnn_jax import text
from rnn_jax.host.files import Row
from rnn_jax.interop import from_uvw, to_uvw
from rnn_jax.recipes.figure import line_figure
from rnn_jax.recipes.folder import RecipeFolder
from rnn_jax.recipes.reference_step import interleaved
from rnn_jax.recipes.sentences import (
    Evaluation,
    SentenceOptions,
    initial_parameters,
    print_evaluation,
    read_sentences,
    train,
    word_model,
)
from rnn_jax.reference import GATES, OperationGraphRNN, layer_backward, layer_forward
from rnn_jax.types import Array, Model, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["JAX_GATES", "Options", "check_gates", "check_sentence", "mean_of_means", "run"]

TRUNCATION, SMALL, ROUNDS = 4, 100, 5
LENGTHS, QUICK_LENGTHS = (5, 10, 20, 40, 80, 160), (5, 10, 20, 40)

# What `GATES` compute, for jax.vjp to differentiate.
JAX_GATES: dict[str, Callable[..., Array]] = {
    "multiply": jnp.matmul,
    "add": jnp.add,
    "tanh": jnp.tanh,
    "cross-entropy": lambda z, onehot: rnn_jax.cross_entropy(z, onehot.argmax()),
}


@dataclass(frozen=True)
class Options(SentenceOptions):
    """The text, the model and its training."""


def run(options: Options, folder: RecipeFolder) -> None:
    """Compare gradients level by level, time both ways back, and train."""
    vocabulary, sentences = read_sentences(options)
    with jax.enable_x64(True):
        checks = check_gates(options.seed) | check_sentence(options.seed)
        print("largest difference between the hand-written gradients and jax.grad, in float64:")
        for what, difference in checks.items():
            print(f"  {what:<44} {difference:.1e}")
        costs = time_lengths(QUICK_LENGTHS if options.quick else LENGTHS, options)
    folder.history(*costs)
    sentences = sentences.subset(0, options.sentences)
    reference, params = initial_parameters(len(vocabulary), options.hidden_size, options.seed)
    gates = OperationGraphRNN(reference.U, reference.V, reference.W)
    model = word_model(len(vocabulary), options.hidden_size)
    short = rnn_jax.truncate(model, rnn_jax.sliding(TRUNCATION))
    typical = sentences.pair(int(np.argsort(sentences.lengths)[len(sentences) // 2]))
    words = len(typical[0])
    step = partial(gates.sgd_step, *typical, options.rate, TRUNCATION)
    gate_seconds = min(interleaved({"step": step}, ROUNDS)["step"])
    print(f"one SGD step of {words} words through the gates: {gate_seconds:.2f} s")
    rows: list[Row] = []

    def tell(now: Evaluation) -> None:
        print_evaluation(now)
        rows.append(now._asdict())
        folder.history(rows[-1])

    params = train(
        short, params, sentences, evaluate=mean_of_means(model, sentences), epochs=options.epochs,
        rate=options.rate, tell=tell,
    )  # fmt: skip
    jax_seconds = step_seconds(short, params, typical)
    folder.figure("loss", loss_figure(rows))
    folder.figure("backward", cost_figure(costs))
    folder.close(["", "published", "here"], [
        ["loss, untrained", f"ln V = {np.log(len(vocabulary)):.3f}", f"{rows[0]['loss']:.3f}"],
        [f"loss after {options.epochs} epochs", "-", f"{rows[-1]['loss']:.3f}"],
        [f"one SGD step, {words} words, NumPy gates", "a few seconds", f"{gate_seconds:.2f} s"],
        ["the same step, rnn_jax", "-", f"{1e3 * jax_seconds:.2f} ms"],
        *[[f"{what}: difference", "-", f"{value:.1e}"] for what, value in checks.items()],
        *[[f"full gradient of {cost['words']} words: two loops, one loop, jax.grad", "-",
           ", ".join(f"{1e3 * cost[name]:.2f} ms" for name in ("two_loops", "one_loop", "jax"))]
          for cost in costs[-1:]],
    ])  # fmt: skip


def check_gates(seed: int, size: int = 7) -> dict[str, float]:
    """The largest difference between a gate's backward pass, or a step's, and `jax.vjp`."""
    rng = np.random.default_rng(seed)
    W, U, V = (rng.normal(size=(size, size)) for _ in "WUV")
    a, b, ds, dz = (rng.normal(size=size) for _ in range(4))
    onehot = np.eye(size)[rng.integers(size)]
    inputs = {"multiply": (W, a), "add": (a, b), "tanh": (a,), "cross-entropy": (a, onehot)}
    result = {}
    for name, gate in GATES.items():
        out, vjp = jax.vjp(JAX_GATES[name], *inputs[name])
        send_back = np.float64(1.5) if name == "cross-entropy" else dz
        by_hand = [gate.forward(*inputs[name]), *gate.backward(*inputs[name], send_back)]
        result[f"{name} gate"] = largest_difference(by_hand, [out, *vjp(jnp.asarray(send_back))])

    def step(s: Array, U: Array, V: Array, W: Array) -> Any:
        s = jnp.tanh(U @ onehot + W @ s)
        return s, V @ s

    out, vjp = jax.vjp(step, b, U, V, W)
    forward = layer_forward(onehot, b, U, V, W)
    by_hand = [forward.s, forward.mulv, *layer_backward(onehot, b, U, V, W, ds, dz)]
    result["step made of gates"] = largest_difference(by_hand, [*out, *vjp((ds, dz))])
    return result


def check_sentence(
    seed: int, words: int = 12, vocab_size: int = 30, hidden_size: int = 9
) -> dict[str, float]:
    """The same for a sentence: two loops with and without truncation, and the one loop."""
    rng = np.random.default_rng(seed)
    shapes = (hidden_size, vocab_size), (vocab_size, hidden_size), (hidden_size, hidden_size)
    gates = OperationGraphRNN(*(rng.normal(size=shape) / 2 for shape in shapes))
    x, y = rng.integers(0, vocab_size, (2, words))
    model, params = word_model(vocab_size, hidden_size), from_uvw(gates.U, gates.V, gates.W)
    truncated = rnn_jax.truncate(model, rnn_jax.sliding(TRUNCATION))
    windows = gradients(compiled_grad(truncated), params, x, y)
    full = gradients(compiled_grad(model), params, x, y)
    short = gates.gradients(x, y, TRUNCATION)
    return {
        f"sentence, two loops, {TRUNCATION} words further": largest_difference(short, windows),
        "sentence, two loops, all words": largest_difference(gates.gradients(x, y, words), full),
        "sentence, one loop, all words": largest_difference(gates.full_gradients(x, y), full),
    }


Gradient = Callable[[Params, Array, Array], Params]


def gradients(
    grad: Gradient, params: Params, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, ...]:
    """dU, dV and dW as NumPy arrays from what `compiled_grad` made."""
    return to_uvw(grad(params, jnp.asarray(x), jnp.asarray(y)))


def compiled_grad(model: Model) -> Gradient:
    """The gradient of a sentence's summed loss."""

    def loss(params: Params, x: Array, y: Array) -> Array:
        return rnn_jax.cross_entropy(model.apply(params, None, x)[1], y, reduction="sum")

    grad: Gradient = jax.jit(jax.grad(loss))
    return grad


def largest_difference(ours: Iterable[ArrayLike], theirs: Iterable[ArrayLike]) -> float:
    """Over all elements of pairs of arrays."""
    pairs = zip(ours, theirs, strict=False)  # the gates send nothing back to a target
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


def time_lengths(lengths: tuple[int, ...], options: Options) -> list[Row]:
    """Least seconds of a full gradient by the gates' two loops, their one loop, and `jax.grad`."""
    reference, _ = initial_parameters(SMALL, options.hidden_size, options.seed)
    gates = OperationGraphRNN(reference.U, reference.V, reference.W)
    params = from_uvw(gates.U, gates.V, gates.W)
    grad = compiled_grad(word_model(SMALL, options.hidden_size))
    rng = np.random.default_rng(options.seed)
    rows = []
    for words in lengths:
        x, y = rng.integers(0, SMALL, (2, words))
        calls: dict[str, Callable[[], Any]] = {
            "two_loops": partial(gates.gradients, x, y, words),
            "one_loop": partial(gates.full_gradients, x, y),
            "jax": partial(gradients, grad, params, x, y),
        }
        calls["jax"]()  # compiles
        seconds = interleaved(calls, max(ROUNDS, 800 // words))  # short calls need more
        rows.append({"words": words} | {name: min(seconds[name]) for name in calls})
    return rows


def step_seconds(model: Model, params: Params, pair: tuple[np.ndarray, np.ndarray]) -> float:
    """The least time of one compiled SGD step, a call a step."""
    optimizer = rnn_jax.sgd(0.005)
    loss = partial(rnn_jax.cross_entropy, reduction="sum")
    step = jax.jit(rnn_jax.make_train_step(model, optimizer, loss=loss), donate_argnums=0)
    state = rnn_jax.init_train_state(model, optimizer, jax.tree.map(jnp.copy, params))
    batch = rnn_jax.Batch(*map(jnp.asarray, pair))

    def call() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        metrics["loss"].block_until_ready()

    call()  # compiles
    return min(interleaved({"step": call}, ROUNDS)["step"])


def mean_of_means(model: Model, sentences: text.Sentences) -> Callable[[Params], float]:
    """The mean over sentences of the mean loss of their words, as one compiled call."""
    steps = int(sentences.lengths.max())
    pairs = np.zeros((2, len(sentences), steps), np.int32)
    for i, pair in enumerate(sentences.pairs()):
        pairs[:, i, : len(pair[0])] = pair
    inputs, targets = jnp.asarray(pairs)
    lengths = jnp.asarray(sentences.lengths)

    @jax.jit
    def evaluate(params: Params) -> Array:
        def loss(sentence: tuple[Array, Array, Array]) -> Array:
            x, y, length = sentence
            mask = rnn_jax.length_mask(length, steps)
            return rnn_jax.cross_entropy(model.apply(params, None, x, mask=mask)[1], y, mask=mask)

        return jax.lax.map(loss, (inputs, targets, lengths)).mean()

    return lambda params: float(evaluate(params))


def loss_figure(rows: list[Row]) -> Figure:
    """The loss against the epoch."""
    line = [row["epoch"] for row in rows], [row["loss"] for row in rows]
    return line_figure(
        {"training text": line}, xlabel="epoch", ylabel="mean of sentences' means (nats)"
    )


def cost_figure(costs: list[Row]) -> Figure:
    """Time of a full gradient against the sentence's length, by the three ways."""
    labels = {"two_loops": "gates, two loops", "one_loop": "gates, one loop", "jax": "jax.grad"}
    words = [cost["words"] for cost in costs]
    lines = {label: (words, [1e3 * cost[name] for cost in costs]) for name, label in labels.items()}
    return line_figure(lines, xlabel="words", ylabel="full gradient (ms)", log=True)
