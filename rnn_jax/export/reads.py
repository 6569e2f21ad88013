"""What a layer or model reads: token ids or features, and how many there are."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from rnn_jax.arrays.paths import at_path, has_path
from rnn_jax.host.checks import positive
from rnn_jax.layers import (
    Bidirectional,
    Embedding,
    LayerNorm,
    MixedPrecision,
    Remat,
    Residual,
    Serial,
    WeightDrop,
    Zoneout,
)
from rnn_jax.layers.base import adapted
from rnn_jax.models import LanguageModel
from rnn_jax.models.read_out import ReadOut
from rnn_jax.truncation import Truncated
from rnn_jax.types import Layer, Model, Params

__all__ = ["Reads", "bare", "reads"]


def bare(layer: Any) -> Any:
    """A layer or model without what changes no value: truncation, recomputing, training's noise."""
    if type(layer) in (MixedPrecision, Remat, Truncated, WeightDrop):
        return bare(layer.layer)
    if type(layer) is Zoneout and not layer.noise:
        return layer.layer
    return layer


class Reads(NamedTuple):
    """What is read.

    ids: whether token ids.
    size: how many there are, or the features.
    model: whether a model reads them.
    """

    ids: bool
    size: int
    model: bool


def reads(
    layer: Layer | Model, params: Params, tokens: bool | None, input_size: int | None
) -> Reads:
    """What a layer or model reads, as far as it is not said, by its parameters.

    Raises:
      ValueError: they do not tell, or it reads only the other one.
    """
    if input_size is not None:
        positive(input_size=input_size)
    bottom = bare(layer)
    name = type(bottom).__name__
    model = len(inspect.signature(bottom.init).parameters) == 1
    only_ids = isinstance(bottom, LanguageModel)
    found, embedded = _below(bottom, params)
    ids = only_ids or embedded
    if tokens is not None:
        if ids and not tokens:
            raise ValueError(f"{name} reads token ids and no features: leave out tokens=False")
        ids = bool(tokens)
    size = input_size if input_size is not None else found
    if size is None:
        raise ValueError(
            f"the parameters of {name} do not tell how many features it reads: pass the parameters "
            "of its own init, or the number as input_size="
        )
    return Reads(ids, size, model)


def _below(layer: Any, params: Params) -> tuple[int | None, bool]:
    """How many features or ids the parameters are for, and whether an embedding reads them."""
    layer = bare(layer)
    if isinstance(layer, LanguageModel):
        return layer.vocab_size, True
    if isinstance(layer, ReadOut):
        _, embedded = _below(layer.layer, params.get("layer", {}))
        return layer.input_size, embedded
    if isinstance(layer, Residual | Zoneout):
        return _below(layer.layer, params)
    if isinstance(layer, Bidirectional):
        return _below(layer.forward, params.get("forward", {}))
    if isinstance(layer, Serial):
        for i, part in enumerate(layer.layers):
            found, embedded = _below(part, params.get(str(i), {}))
            if found is not None or part.output_size is not None:
                return found, embedded
        return None, False
    if isinstance(layer, LayerNorm):
        return (params["gain"].shape[0], False) if "gain" in params else (None, False)
    table = adapted(layer).input_table
    if table is None or not has_path(params, table):
        return None, False
    return at_path(params, table).shape[0], isinstance(layer, Embedding)
