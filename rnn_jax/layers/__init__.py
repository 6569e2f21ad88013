"""Layers: maps of whole sequences, built from cells and from each other."""

from rnn_jax.layers.carries import all_carries
from rnn_jax.layers.dropout import Dropout, dropout
from rnn_jax.layers.recurrent import Recurrent, recurrent
from rnn_jax.layers.serial import Serial, serial

__all__ = [
    "Dropout",
    "Recurrent",
    "Serial",
    "all_carries",
    "dropout",
    "recurrent",
    "serial",
]
