"""Recurrent cells: one step each, as immutable hyperparameters with pure methods."""

from rnn_jax.cells.elman import Elman, elman
from rnn_jax.cells.gated import GatedCell
from rnn_jax.cells.gru import GRUAfter, GRUBefore, gru
from rnn_jax.cells.lstm import LSTM, lstm
from rnn_jax.cells.pointwise import PointwiseCell

__all__ = [
    "LSTM",
    "Elman",
    "GRUAfter",
    "GRUBefore",
    "GatedCell",
    "PointwiseCell",
    "elman",
    "gru",
    "lstm",
]
