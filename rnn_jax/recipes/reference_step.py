"""The reference step: one SGD step of the published word model, in NumPy and in JAX.

V = 8,000 words, H = 100 hidden units, one sentence of 45 words, sliding windows of 4, plain SGD;
the tutorial gives about 180 ms for it. The benchmark suite times it, and so does
`rnn_jax.recipes.step_time`, with which the command line closes a training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.cells import elman
from rnn_jax.interop import from_uvw, to_uvw
from rnn_jax.layers import recurrent
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.models import language_model
from rnn_jax.reference import NumpyRNN, VectorisedRNN
from rnn_jax.training import (
    SentenceStream,
    init_train_state,
    make_train_step,
    make_train_steps,
    sentence_stream,
    sgd,
)
from rnn_jax.truncation import Truncation, sliding, truncate
from rnn_jax.types import Batch

__all__ = [
    "PUBLISHED_MS",
    "TURNS",
    "Stepper",
    "Workload",
    "interleaved",
    "jax_scan",
    "steppers",
]

PUBLISHED_MS = 180.0  # Britz, Recurrent neural networks tutorial, part 2 (2015): "a laptop"

# How often an implementation is called in a turn: turns are to be long beside the clock.
TURNS = {
    "numpy-loop": 1,
    "numpy-loop-float32": 2,
    "numpy-vectorised": 20,
    "jax-call": 40,
    "jax-scan": 1,
}

Matrices = tuple[Any, Any, Any]


@dataclass(frozen=True)
class Workload:
    """Sizes of the step, and the random weights and sentences it starts from."""

    vocab_size: int = 8000
    hidden_size: int = 100
    length: int = 45
    window: int = 4
    learning_rate: float = 0.005
    sentences: int = 200
    seed: int = 0

    @cached_property
    def weights(self) -> Matrices:
        """U, V and W in float64, uniform in ±1/√fan-in."""
        model = NumpyRNN.init(self.vocab_size, self.hidden_size, seed=self.seed)
        return model.U, model.V, model.W

    @cached_property
    def tokens(self) -> np.ndarray:
        """``int[sentences, length + 1]``, drawn anew for every sentence."""
        rng = np.random.default_rng(self.seed + 1)
        return rng.integers(0, self.vocab_size, (self.sentences, self.length + 1), np.int32)


@dataclass(frozen=True)
class Stepper:
    """One implementation: ``call()`` takes ``steps`` further steps and waits for their end."""

    call: Callable[[], None]
    steps: int
    weights: Callable[[], Matrices]

    def repeated(self, calls: int) -> Stepper:
        """One that makes so many calls in one."""

        def call() -> None:
            for _ in range(calls):
                self.call()

        return Stepper(call, self.steps * calls, self.weights)


def steppers(workload: Workload) -> dict[str, Stepper]:
    """All implementations of the step by name, each with weights of its own.

    ``numpy-loop`` is the published double loop in float64; ``jax-call`` is one jitted call a step,
    ``jax-scan`` all sentences in one call.
    """
    to_float32 = [w.astype(np.float32) for w in workload.weights]
    copies = [w.copy() for w in workload.weights]
    return {
        "numpy-loop": _numpy(workload, NumpyRNN(*copies)),
        "numpy-loop-float32": _numpy(workload, NumpyRNN(*(w.copy() for w in to_float32))),
        "numpy-vectorised": _numpy(workload, VectorisedRNN(*to_float32)),
        "jax-call": _jax_call(workload),
        "jax-scan": jax_scan(workload),
    }


def _numpy(workload: Workload, model: NumpyRNN) -> Stepper:
    index = 0

    def call() -> None:
        nonlocal index
        sentence = workload.tokens[index % workload.sentences]
        model.sgd_step(sentence[:-1], sentence[1:], workload.learning_rate, workload.window)
        index += 1

    return Stepper(call, 1, lambda: (model.U, model.V, model.W))


def _train_step(workload: Workload, truncation: Truncation | None = None) -> tuple[Any, Any]:
    cell = elman(workload.hidden_size, bias=False)
    bare = language_model(workload.vocab_size, recurrent(cell), bias=False)
    model = truncate(bare, sliding(workload.window) if truncation is None else truncation)
    optimizer = sgd(workload.learning_rate)
    params = from_uvw(*workload.weights)
    # Arrays of their own: a donated state must not take the workload's weights with it.
    params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32, copy=True), params)
    state = init_train_state(model, optimizer, params)
    return state, make_train_step(model, optimizer, loss=partial(cross_entropy, reduction="sum"))


def _jax_call(workload: Workload) -> Stepper:
    state, train_step = _train_step(workload)
    step = jax.jit(train_step, donate_argnums=0)
    index = 0

    def call() -> None:
        nonlocal state, index
        sentence = jnp.asarray(workload.tokens[index % workload.sentences])
        state, _ = step(state, Batch(sentence[:-1], sentence[1:]))
        _wait(state)
        index += 1

    return Stepper(call, 1, lambda: to_uvw(state.params))


def jax_scan(workload: Workload, truncation: Truncation | None = None) -> Stepper:
    """All sentences in one compiled call; the workload's sliding truncation, or another one."""
    state, train_step = _train_step(workload, truncation)
    run = make_train_steps(train_step, summed=True)
    data, key = _stream(workload), jax.random.key(0)  # for a randomised truncation

    def call() -> None:
        nonlocal state
        state, _ = run(state, data, 0, data.count, key)
        _wait(state)

    return Stepper(call, data.count, lambda: to_uvw(state.params))


def _wait(tree: Any) -> None:
    for leaf in jax.tree.leaves(tree):
        leaf.block_until_ready()


def _stream(workload: Workload) -> SentenceStream:
    offsets = np.arange(workload.sentences + 1) * (workload.length + 1)
    return sentence_stream(workload.tokens.ravel(), offsets, buckets=(workload.length,))


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every call in every round, all calls taking turns.

    A machine that slows down for a while then slows all of them, and their ratios stay.

    Example:
      >>> ticks = iter(range(100))
      >>> interleaved({"a": lambda: None, "b": lambda: None}, 2, clock=lambda: next(ticks))
      {'a': [1, 1], 'b': [1, 1]}
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = clock()
            call()
            seconds[name].append(clock() - began)
    return seconds
