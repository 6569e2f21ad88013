"""A run's model taken apart, where it is an embedding, a stack of one cell and a read-out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from rnn_jax.layers.activation_penalty import ActivationPenalty
from rnn_jax.layers.dropout import Dropout
from rnn_jax.layers.mixed_precision import MixedPrecision
from rnn_jax.layers.recurrent import Recurrent
from rnn_jax.layers.remat import Remat
from rnn_jax.layers.serial import Serial
from rnn_jax.layers.weight_drop import WeightDrop
from rnn_jax.models.language_model import LanguageModel
from rnn_jax.truncation.truncate import Truncated
from rnn_jax.types import Cell, Params

__all__ = ["Plain", "plain_model"]


class Plain(NamedTuple):
    """What is left of a model without noise and penalties.

    model: the language model.
    cell: that of every layer.
    parts: by path in the model's parameters, joined with dots, those of each layer, from below.
    """

    model: LanguageModel
    cell: Cell
    parts: dict[str, Params]


def plain_model(model: Any, params: Params) -> Plain | None:
    """The model taken apart; None where it has anything else: residuals, zoneout, two cells."""
    while isinstance(model, MixedPrecision | Truncated | Remat):
        model = model.layer
    if not isinstance(model, LanguageModel) or model.readout is not None:
        return None
    found = list(_flattened(model.layer, params["layer"], "layer"))
    layers = {layer for layer, _, _ in found}
    if len(layers) != 1 or not isinstance(layer := layers.pop(), Recurrent) or layer.reverse:
        return None
    return Plain(model, layer.cell, {path: part for _, part, path in found})


def _flattened(layer: Any, params: Params, path: str) -> Iterator[tuple[Any, Params, str]]:
    if isinstance(layer, Serial):
        for i, member in enumerate(layer.layers):
            yield from _flattened(member, params[str(i)], f"{path}.{i}")
    elif isinstance(layer, MixedPrecision | Truncated | Remat | WeightDrop):
        yield from _flattened(layer.layer, params, path)
    elif not isinstance(layer, Dropout | ActivationPenalty):
        yield layer, params, path
