"""What the converters share: layers taken apart, weights as NumPy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnn_jax.cells.memory import MemoryCell
from rnn_jax.layers.bidirectional import Bidirectional
from rnn_jax.layers.recurrent import Recurrent
from rnn_jax.layers.remat import Remat
from rnn_jax.truncation.truncate import Truncated
from rnn_jax.types import Array, Cell, Layer, Params

__all__ = ["Weights", "bare", "directions", "joined_bias", "owned", "plain_weights", "reordered"]

Weights = NDArray[Any]


class Direction(NamedTuple):
    """One cell of a layer, the direction in which it runs, and its parameters."""

    cell: Cell
    reverse: bool
    params: Params


def bare(layer: Layer) -> Layer:
    """The layer inside `truncate` and `remat`, which change neither weights nor values."""
    while isinstance(layer, Truncated | Remat):
        layer = cast(Layer, layer.layer)
    return layer


def directions(layer: Layer, params: Params) -> list[Direction]:
    """The cell of a `Recurrent`, or the two of a `Bidirectional`; empty for any other layer."""
    layer = bare(layer)
    if isinstance(layer, Recurrent):
        return [Direction(layer.cell, layer.reverse, params)]
    if isinstance(layer, Bidirectional):
        pair = (layer.forward, params["forward"]), (layer.backward, params["backward"])
        both = [
            direction
            for side, side_params in pair
            if isinstance(side, Recurrent)
            for direction in directions(side, side_params)
        ]
        if [direction.reverse for direction in both] == [False, True]:
            return both
    return []


def plain_weights(cell: Cell, params: Params, library: str) -> dict[str, Weights]:
    """A cell's parameters as NumPy arrays, a forget bias added to ``b``.

    Raises:
      ValueError: there is a learned initial carry, which ``library`` cannot store.
    """
    if "carry" in params:
        raise ValueError(
            f"{library} keeps no initial carry among the weights: leave 'carry' out of the "
            "parameters, and pass it as the initial state there"
        )
    weights = {name: np.asarray(leaf) for name, leaf in params.items()}
    if forget_bias := cell.forget_bias if isinstance(cell, MemoryCell) else 0:
        size = weights["w_ih"].shape[1] // 4
        b = np.array(weights.get("b", np.zeros_like(weights["w_ih"][0])))
        b[size : 2 * size] += forget_bias
        weights["b"] = b
    return weights


def joined_bias(weights: dict[str, Weights]) -> Weights | None:
    """``b + b_hh``, or the one that exists, or None."""
    biases = [weights[name] for name in ("b", "b_hh") if name in weights]
    return sum(biases[1:], biases[0]) if biases else None


def reordered(weights: Weights, order: tuple[int, ...]) -> Weights:
    """The gates' blocks along the last axis, in another order."""
    blocks = np.split(weights, len(order), -1)
    return np.concatenate([blocks[i] for i in order], -1)


def owned(weights: ArrayLike) -> Array:
    """A JAX array with its own memory: other libraries update theirs in place."""
    return jnp.array(np.asarray(weights), copy=True)
