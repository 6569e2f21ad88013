"""The model that a configuration names."""

from __future__ import annotations

from rnn_jax.layers import (
    activation_penalty,
    dropout,
    mixed_precision,
    recurrent,
    remat,
    residual,
    serial,
    weight_drop,
    zoneout,
)
from rnn_jax.models import language_model
from rnn_jax.runs.cells import make_cell
from rnn_jax.runs.settings import ModelSettings, TrainConfig
from rnn_jax.runs.softmax import make_softmax
from rnn_jax.truncation import parse_truncation, truncate
from rnn_jax.types import Layer, Model

__all__ = ["make_model", "truncated"]


def make_model(config: ModelSettings, vocab_size: int) -> Model:
    """The language model of a configuration, not truncated.

    With ``residual`` a layer adds to what it is given, dropout acting on what it reads: nothing
    but sums lies between the embedding and the last outputs.
    """
    noisy = dropout(config.dropout, variational=config.variational_dropout)
    layers: list[Layer] = []
    size = config.embedding_size
    for _ in range(config.num_layers):
        # One-hot vectors, which the first layer reads without an embedding, are not dropped.
        own = [noisy, _layer(config)] if config.dropout and size else [_layer(config)]
        if config.residual and size == config.output_size:
            layers.append(residual(_one(own)))
        else:
            layers += own
        size = config.output_size
    if config.remat:
        layers = [remat(_one(layers))]
    model = language_model(
        vocab_size,
        _one([*layers, *_last(config, noisy)]),
        embedding_size=config.embedding_size or None,
        bias=config.bias,
        tied=config.tied,
        readout=make_softmax(config.softmax, vocab_size),
    )
    return model if config.dtype == "float32" else mixed_precision(model, config.dtype)


def _last(config: ModelSettings, noisy: Layer) -> list[Layer]:
    """What stands above the last recurrent layer: TAR before its dropout, AR after it."""
    ar, tar = config.activation_penalty, config.temporal_penalty
    if not config.dropout:
        return [activation_penalty(ar, tar)] if ar or tar else []
    below = [activation_penalty(tar=tar)] if tar else []
    return [*below, noisy, *([activation_penalty(ar)] if ar else [])]


def _one(layers: list[Layer]) -> Layer:
    return layers[0] if len(layers) == 1 else serial(*layers)


def _layer(config: ModelSettings) -> Layer:
    """One recurrent layer."""
    cell = make_cell(
        config.cell,
        config.hidden_size,
        bias=config.bias,
        layer_norm=config.layer_norm,
        proj_size=config.proj_size,
        learned_carry=config.learned_carry,
    )
    layer: Layer = recurrent(cell)
    if config.zoneout or config.zoneout_cell:
        layer = zoneout(cell, config.zoneout, cell_rate=config.zoneout_cell)
    return weight_drop(layer, config.weight_drop) if config.weight_drop else layer


def truncated(config: TrainConfig, model: Model) -> Model:
    """The model with its gradients truncated as ``bptt`` says: the one to train."""
    if config.bias_bound is not None:
        raise ValueError(
            f"--bptt {config.bptt} chooses its truncation while a run trains: name one, such as "
            "sliding:4"
        )
    return truncate(model, parse_truncation(config.bptt))
