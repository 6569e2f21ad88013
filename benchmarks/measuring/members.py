"""Every cell, layer and kind of truncation at any size: what the laws are held to.

A member is made once as users make it and once as its reference: by the plain scan, every window of
a truncation run by itself, nothing rounded to 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

import rnn_jax
from rnn_jax.recurrence import Backend

__all__ = ["CELLS", "KINDS", "Member", "layers", "of_cell", "truncated"]

# name: a cell of so many units
CELLS: dict[str, Callable[[int], rnn_jax.Cell]] = {
    "lstm": rnn_jax.lstm,
    "gru": rnn_jax.gru,
    "tanh": rnn_jax.elman,
    "lru": rnn_jax.lru,
    "relu": lambda size: rnn_jax.elman(size, activation=jax.nn.relu, bias=False),
    "sigmoid": lambda size: rnn_jax.elman(size, activation=jax.nn.sigmoid),
    "gru-before": lambda size: rnn_jax.gru(size, reset="before"),
    "lstm-peepholes": lambda size: rnn_jax.lstm(size, peepholes=True),
    "lstm-projected": lambda size: rnn_jax.lstm(size + 3, proj_size=size, recurrent_bias=True),
    "tanh-layer-norm": lambda size: rnn_jax.elman(size, layer_norm=True),
    "gru-layer-norm": lambda size: rnn_jax.gru(size, layer_norm=True),
    "lstm-layer-norm": lambda size: rnn_jax.lstm(size, layer_norm=True, forget_bias=1.0),
    "min-gru": rnn_jax.min_gru,
    "min-lstm": lambda size: rnn_jax.min_lstm(size, positive=True, learned_carry=True),
    "echo-state": lambda size: rnn_jax.echo_state(size, leak=0.7, bias_scale=0.1),
}

# The kinds of truncation, each cutting within a sequence of a dozen steps; the name is the kind's.
KINDS = (
    rnn_jax.sliding(4),
    rnn_jax.chunked(5),
    rnn_jax.tail(3),
    rnn_jax.randomized(0.6),
    rnn_jax.full(),
)


@dataclass(frozen=True)
class Member:
    """A layer, made by ``make(backend, reference)``.

    ids: whether it reads token ids.
    noisy: whether it draws from a key. Draws depend on the dtype, so that its reference computes in
      float32, too.
    rounds: whether it rounds to bfloat16, whatever it is given.
    """

    make: Callable[[Backend, bool], rnn_jax.Layer]
    ids: bool = False
    noisy: bool = False
    rounds: bool = False


def of_cell(name: str, size: int) -> Member:
    """The layer of one cell."""
    return Member(lambda backend, reference: rnn_jax.recurrent(CELLS[name](size), backend=backend))


def truncated(member: Member, kind: rnn_jax.Truncation) -> Member:
    """A member under a truncation."""

    def make(backend: Backend, reference: bool) -> rnn_jax.Layer:
        return rnn_jax.truncate(member.make(backend, reference), kind, reference=reference)

    return Member(make, member.ids, member.noisy or kind.noise is not None, member.rounds)


def layers(size: int) -> dict[str, Member]:
    """A member for every layer of the package."""

    def of(make: Callable[[Any], rnn_jax.Layer], **facts: bool) -> Member:
        """Around or above an LSTM."""
        return Member(
            lambda backend, _: make(rnn_jax.recurrent(rnn_jax.lstm(size), backend=backend)), **facts
        )

    def backward(layer: Any) -> rnn_jax.Layer:
        return rnn_jax.recurrent(rnn_jax.lstm(size), reverse=True, backend=layer.backend)

    return {
        "recurrent-reverse": of(backward),
        "serial": of(lambda layer: rnn_jax.serial(layer, layer)),
        "bidirectional": of(lambda layer: rnn_jax.bidirectional(layer, backward(layer))),
        "residual": of(lambda layer: rnn_jax.serial(layer, rnn_jax.residual(layer))),
        "embedding": of(lambda layer: rnn_jax.serial(rnn_jax.embedding(size), layer), ids=True),
        "linear": of(lambda layer: rnn_jax.serial(rnn_jax.linear(size), layer, rnn_jax.linear(3))),
        "layer-norm": of(lambda layer: rnn_jax.serial(layer, rnn_jax.layer_norm())),
        "remat": of(rnn_jax.remat),
        "dropout": of(
            lambda layer: rnn_jax.serial(layer, rnn_jax.dropout(0.4, variational=True)), noisy=True
        ),
        "weight-drop": of(lambda layer: rnn_jax.weight_drop(layer, 0.4), noisy=True),
        "zoneout": Member(
            lambda backend, _: rnn_jax.zoneout(rnn_jax.lstm(size), 0.3, backend=backend), noisy=True
        ),
        "activation-penalty": of(
            lambda layer: rnn_jax.serial(layer, rnn_jax.activation_penalty(2.0, 1.0))
        ),
        "mixed-precision": Member(
            lambda backend, reference: _mixed(size, backend, reference), rounds=True
        ),
    }


def _mixed(size: int, backend: Backend, reference: bool) -> rnn_jax.Layer:
    layer = rnn_jax.recurrent(rnn_jax.lstm(size), backend=backend)
    return layer if reference else rnn_jax.mixed_precision(layer)
