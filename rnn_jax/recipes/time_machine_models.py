"""The models that Dive into Deep Learning trains on The Time Machine, and what it printed.

The book stacks LSTMs as well; 32 of them stay at the frequencies of the letters. `lstm-32-residual`
is not the book's: a stack of that depth which learns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optax

import rnn_jax
from rnn_jax import Cell, Layer, Truncation

__all__ = ["MODELS", "TimeMachineModel"]

# As PyTorch draws and stores them: uniform in ±1/√H, two biases.
_TORCH: dict[str, Any] = {
    "w_ih_init": "uniform_fan_out",
    "w_hh_init": "uniform_fan_out",
    "b_init": "uniform_fan_out",
}
_TWO_BIASES: dict[str, Any] = {**_TORCH, "recurrent_bias": True}

_FULL = rnn_jax.full()


def _tanh(size: int) -> Cell:
    return rnn_jax.elman(size, **_TWO_BIASES)


def _gru(size: int) -> Cell:
    return rnn_jax.gru(size, **_TWO_BIASES)


def _gru_before(size: int) -> Cell:
    return rnn_jax.gru(size, reset="before", **_TORCH)


def _lstm(size: int) -> Cell:
    return rnn_jax.lstm(size, **_TWO_BIASES)


def _stack(cell: Callable[[int], Cell], depth: int) -> Callable[[int], Layer]:
    return lambda size: rnn_jax.serial(*[rnn_jax.recurrent(cell(size))] * depth)


def _residual_stack(size: int) -> Layer:
    # The lowest layer reads characters, which are no features that could be added to.
    above = rnn_jax.residual(rnn_jax.recurrent(_lstm(size)))
    return rnn_jax.serial(rnn_jax.recurrent(_lstm(size)), *[above] * 31)


def _both_ways(size: int) -> Layer:
    cell = _lstm(size)
    return rnn_jax.bidirectional(rnn_jax.recurrent(cell), rnn_jax.recurrent(cell, reverse=True))


@dataclass(frozen=True)
class TimeMachineModel:
    """How one of the book's models is made and trained.

    layer: from the hidden size.
    rate: the learning rate.
    optimizer: from the learning rate; the book's is SGD.
    random: random sampling, the state beginning anew at each batch; else sequential partitioning.
    bptt: the truncation inside a window.
    share: of the epochs, for the model that is too slow for all of them.
    published: perplexity and tokens a second that the book printed, if it has this model.
    """

    layer: Callable[[int], Layer]
    rate: float = 1.0
    optimizer: Callable[[float], optax.GradientTransformation] = optax.sgd
    random: bool = False
    bptt: Truncation = _FULL
    share: float = 1.0
    published: tuple[float, float] | None = None


# The book's figures are those of one GPU, in its printed edition: sections 8.5, 8.6, 9.1 to 9.4.
MODELS = {
    "tanh": TimeMachineModel(_stack(_tanh, 1), published=(1.3, 404_413.8)),
    "tanh-random": TimeMachineModel(_stack(_tanh, 1), random=True, published=(1.5, 65_222.3)),
    "gru": TimeMachineModel(_stack(_gru, 1), published=(1.0, 109_423.8)),
    "gru-before": TimeMachineModel(_stack(_gru_before, 1), published=(1.1, 19_911.5)),
    "lstm": TimeMachineModel(_stack(_lstm, 1), published=(1.1, 234_815.0)),
    "lstm-chunked": TimeMachineModel(_stack(_lstm, 1), bptt=rnn_jax.chunked(5)),
    "lstm-randomized": TimeMachineModel(_stack(_lstm, 1), bptt=rnn_jax.randomized(0.9)),
    "lstm-2": TimeMachineModel(_stack(_lstm, 2), rate=2.0, published=(1.0, 186_005.7)),
    "lstm-32": TimeMachineModel(_stack(_lstm, 32), rate=2.0, share=0.05),
    "lstm-32-residual": TimeMachineModel(
        _residual_stack, rate=0.001, optimizer=optax.adam, share=0.1
    ),
    "lstm-both-ways": TimeMachineModel(_both_ways, published=(1.1, 131_129.2)),
}
