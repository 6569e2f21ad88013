"""Weights from and to Keras' ``SimpleRNN``, ``GRU`` and ``LSTM``, without importing Keras."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.cells.elman import Elman, elman
from rnn_jax.cells.gru import GRUAfter, GRUBefore, gru
from rnn_jax.cells.lstm import LSTM, lstm
from rnn_jax.interop.weights import (
    Weights,
    directions,
    joined_bias,
    owned,
    plain_weights,
    reordered,
)
from rnn_jax.layers.bidirectional import Bidirectional, bidirectional
from rnn_jax.layers.recurrent import recurrent
from rnn_jax.types import Cell, Layer, Params

__all__ = ["KerasLayer", "from_keras", "keras_direction", "to_keras"]

_ACTIVATIONS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "linear": jax.nn.identity,
}
_SWAPPED = (1, 0, 2)  # Keras' gates z, r, h are our r, z, n; an LSTM's have the same order
_CELLS = (Elman, LSTM, GRUAfter, GRUBefore)


class KerasLayer(NamedTuple):
    """What of a recurrent layer of Keras decides what it computes, beside its weights."""

    name: str
    activation: Any
    recurrent_activation: Any
    go_backwards: bool
    reset_after: bool


def from_keras(layer: Any) -> tuple[Layer, Params]:
    """A layer and its parameters from a built Keras layer.

    In Keras, ``return_sequences`` and ``return_state`` choose what is returned; here it is always
    the carry and all outputs, the last of which is the ``h`` of the carry. ``go_backwards`` becomes
    ``reverse=True``, which keeps the outputs in place where Keras reverses them. Sequences are
    time-major here. Dropout inside the Keras layer, which acts only in training, is not converted.

    At masked steps both hold the carry. The output there is zero here; in Keras it is the last one
    again, unless ``zero_output_for_mask=True``, which a Bidirectional sets, makes it zero as well.

    Args:
      layer: a ``SimpleRNN`` (tanh, relu, sigmoid or linear), ``GRU`` (both forms of
        ``reset_after``) or ``LSTM`` (tanh and sigmoid), or a ``Bidirectional`` one of these that
        concatenates or sums.

    Returns:
      ``recurrent(cell)``, or ``bidirectional`` of two, and the parameters.

    Raises:
      ValueError: the layer is another one, or is not built yet.
    """
    name = type(layer).__name__
    if name == "Bidirectional":
        return _from_bidirectional(layer)
    if name not in ("SimpleRNN", "GRU", "LSTM"):
        raise ValueError(
            f"from_keras takes a SimpleRNN, GRU, LSTM or a Bidirectional of one, not {name}"
        )
    weights = [np.asarray(array) for array in layer.get_weights()]
    if not weights:
        raise ValueError(f"the {name} has no weights yet: build it, or call it once")
    activation, recurrent_activation = (
        getattr(getattr(layer, which, None), "__name__", None)
        for which in ("activation", "recurrent_activation")
    )
    reset_after = bool(getattr(layer, "reset_after", False))
    known = KerasLayer(name, activation, recurrent_activation, layer.go_backwards, reset_after)
    return keras_direction(known, weights)


def keras_direction(layer: KerasLayer, weights: list[Weights]) -> tuple[Layer, Params]:
    """``recurrent(cell)`` and its parameters, from what is known of a layer and its weights.

    Raises:
      ValueError: the activations, or the number of weights, have no counterpart.
    """
    name, activation = layer.name, layer.activation
    simple = name == "SimpleRNN"
    if activation not in (tuple(_ACTIVATIONS) if simple else ("tanh",)) or (
        not simple and layer.recurrent_activation != "sigmoid"
    ):
        raise ValueError(
            f"a {name} with activation {activation!r} and recurrent activation "
            f"{layer.recurrent_activation!r} has no counterpart: use tanh, relu, sigmoid or linear "
            "in a SimpleRNN, tanh and sigmoid in a GRU or LSTM"
        )
    if len(weights) not in (2, 3):
        raise ValueError(f"a {name} has 2 or 3 weights, not {len(weights)}")
    bias, size = len(weights) == 3, weights[1].shape[0]
    params = dict(zip(("w_ih", "w_hh", "b"), weights, strict=False))
    cell: Cell
    if simple:
        cell = elman(size, activation=_ACTIVATIONS[str(activation)], bias=bias)
    elif name == "LSTM":
        cell = lstm(size, bias=bias)
    else:
        cell = gru(size, reset="after" if layer.reset_after else "before", bias=bias)
        params = {key: reordered(array, _SWAPPED) for key, array in params.items()}
        if bias and layer.reset_after:
            params["b"], params["b_hh"] = params["b"]
    ours = {key: owned(array) for key, array in params.items()}
    return recurrent(cell, reverse=bool(layer.go_backwards)), ours


def to_keras(layer: Layer, params: Params) -> list[np.ndarray]:
    """The weights for ``set_weights`` of the Keras layer that computes what a layer does.

    Where Keras has only one bias, a second one is added to the first; a forget bias is added, too.

    Args:
      layer: ``recurrent(cell)`` of elman, gru or lstm, or ``bidirectional`` of two; a stack is
        converted layer by layer.
      params: its parameters.

    Returns:
      ``[kernel [D, G·H], recurrent_kernel [H, G·H], bias]``, the bias ``[G·H]``, or ``[2, 3H]`` for
      ``GRU(reset_after=True)``; without a bias where there is none (``use_bias=False``); for
      ``Bidirectional``, the lists of both directions, one after the other.

    Raises:
      ValueError: Keras has no such layer.

    Example:
      >>> import jax, rnn_jax
      >>> layer = rnn_jax.recurrent(rnn_jax.gru(3))
      >>> [w.shape for w in to_keras(layer, layer.init(jax.random.key(0), 5))]
      [(5, 9), (3, 9), (2, 9)]
    """
    both = directions(layer, params)
    if not both or any(type(cell) not in _CELLS for cell, _, _ in both):
        raise ValueError(
            "Keras has layers for recurrent(cell) of elman, gru or lstm and for bidirectional of "
            f"two such, but not for {layer!r}: convert a stack layer by layer"
        )
    parts = [_direction(cell, values) for cell, _, values in both]
    if len({len(part) for part in parts}) != 1:
        raise ValueError("Keras has a bias in both directions or in none: give the other zeros")
    return [np.array(array, order="C") for part in parts for array in part]


def _direction(cell: Cell, params: Params) -> list[Weights]:
    weights = plain_weights(cell, params, "Keras")
    matrices, bias = [weights["w_ih"], weights["w_hh"]], joined_bias(weights)
    if type(cell) is GRUAfter and bias is not None:
        zeros = np.zeros_like(bias)
        bias = np.stack([weights.get(name, zeros) for name in ("b", "b_hh")])
    arrays = matrices if bias is None else [*matrices, bias]
    swap = type(cell) in (GRUAfter, GRUBefore)
    return [reordered(array, _SWAPPED) if swap else array for array in arrays]


def _from_bidirectional(layer: Any) -> tuple[Bidirectional, Params]:
    merge = layer.merge_mode
    forward, forward_params = from_keras(layer.forward_layer)
    backward, backward_params = from_keras(layer.backward_layer)
    if merge not in ("concat", "sum") or layer.forward_layer.go_backwards:
        raise ValueError(
            "a Bidirectional can be converted if its forward layer runs forwards and its "
            f"merge_mode is 'concat' or 'sum', not {merge!r}"
        )
    both = bidirectional(forward, backward, merge=merge)
    return both, {"forward": forward_params, "backward": backward_params}
