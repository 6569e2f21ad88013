"""Recurrent cells: one step each, as immutable hyperparameters with pure methods."""

from rnn_jax.cells.base import BaseCell, Form, form_of, input_table_of
from rnn_jax.cells.echo_state import EchoState, echo_state
from rnn_jax.cells.elman import Elman, elman
from rnn_jax.cells.gated import GatedCell
from rnn_jax.cells.gru import GRUAfter, GRUBefore, gru
from rnn_jax.cells.layer_norm import LayerNormElman, LayerNormGRU, LayerNormLSTM
from rnn_jax.cells.linear import LinearCell
from rnn_jax.cells.lru import LRU, lru
from rnn_jax.cells.lstm import LSTM, lstm
from rnn_jax.cells.lstm_peephole import PeepholeLSTM
from rnn_jax.cells.lstm_projected import ProjectedLSTM
from rnn_jax.cells.memory import LSTMCarry
from rnn_jax.cells.minimal import MinGRU, MinLSTM, min_gru, min_lstm
from rnn_jax.cells.pointwise import PointwiseCell

__all__ = [
    "LRU",
    "LSTM",
    "BaseCell",
    "EchoState",
    "Elman",
    "Form",
    "GRUAfter",
    "GRUBefore",
    "GatedCell",
    "LSTMCarry",
    "LayerNormElman",
    "LayerNormGRU",
    "LayerNormLSTM",
    "LinearCell",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "PointwiseCell",
    "ProjectedLSTM",
    "echo_state",
    "elman",
    "form_of",
    "gru",
    "input_table_of",
    "lru",
    "lstm",
    "min_gru",
    "min_lstm",
]
