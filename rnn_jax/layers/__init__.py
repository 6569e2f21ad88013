"""Layers: maps of whole sequences, built from cells and from each other."""

from rnn_jax.layers.activation_penalty import ActivationPenalty, activation_penalty
from rnn_jax.layers.base import BaseLayer
from rnn_jax.layers.bidirectional import Bidirectional, bidirectional
from rnn_jax.layers.carries import all_carries
from rnn_jax.layers.dropout import Dropout, dropout
from rnn_jax.layers.embedding import Embedding, embedding
from rnn_jax.layers.layer_norm import LayerNorm, layer_norm
from rnn_jax.layers.linear import Linear, linear
from rnn_jax.layers.mixed_precision import MixedPrecision, mixed_precision
from rnn_jax.layers.recurrent import Recurrent, recurrent
from rnn_jax.layers.remat import Remat, remat
from rnn_jax.layers.residual import Residual, residual
from rnn_jax.layers.serial import Serial, serial
from rnn_jax.layers.weight_drop import WeightDrop, weight_drop
from rnn_jax.layers.zoneout import Zoneout, zoneout

__all__ = [
    "ActivationPenalty",
    "BaseLayer",
    "Bidirectional",
    "Dropout",
    "Embedding",
    "LayerNorm",
    "Linear",
    "MixedPrecision",
    "Recurrent",
    "Remat",
    "Residual",
    "Serial",
    "WeightDrop",
    "Zoneout",
    "activation_penalty",
    "all_carries",
    "bidirectional",
    "dropout",
    "embedding",
    "layer_norm",
    "linear",
    "mixed_precision",
    "recurrent",
    "remat",
    "residual",
    "serial",
    "weight_drop",
    "zoneout",
]
