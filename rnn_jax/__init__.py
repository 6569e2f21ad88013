"""Recurrent networks in JAX as pure functions.

    carry, ys = rnn_jax.unroll(cell, params, carry, xs)

Shapes are time-major: ``xs`` is ``float[T, B, D]`` or ``int[T, B]`` (integers are one-hot vectors),
``mask`` is ``bool[T, B]``. Cells, layers and models are immutable values with pure methods.
"""

from rnn_jax import interop
from rnn_jax.cells import (
    LRU,
    LSTM,
    EchoState,
    Elman,
    GRUAfter,
    GRUBefore,
    LinearCell,
    MinGRU,
    MinLSTM,
    PointwiseCell,
    echo_state,
    elman,
    gru,
    lru,
    lstm,
    min_gru,
    min_lstm,
)
from rnn_jax.generation import generate, predict
from rnn_jax.layers import (
    Dropout,
    Recurrent,
    Serial,
    all_carries,
    dropout,
    recurrent,
    serial,
)
from rnn_jax.linear_recurrence import linear_scan
from rnn_jax.losses import cross_entropy, perplexity
from rnn_jax.masking import length_mask
from rnn_jax.models import LanguageModel, language_model
from rnn_jax.recurrence import unroll, unroll_carries
from rnn_jax.ridge import ridge
from rnn_jax.training import (
    PlainSGD,
    SentenceStream,
    TrainState,
    Windows,
    init_train_state,
    make_evaluate,
    make_train_step,
    make_train_steps,
    sentence_stream,
    sgd,
)
from rnn_jax.truncation import (
    Chunked,
    Full,
    Randomized,
    Sliding,
    Tail,
    Truncated,
    Truncation,
    chunked,
    full,
    parse_truncation,
    randomized,
    sliding,
    tail,
    truncate,
)
from rnn_jax.types import Batch, Cell, Layer, Model

__version__ = "0.1.0"

__all__ = [
    "LRU",
    "LSTM",
    "Batch",
    "Cell",
    "Chunked",
    "Dropout",
    "EchoState",
    "Elman",
    "Full",
    "GRUAfter",
    "GRUBefore",
    "LanguageModel",
    "Layer",
    "LinearCell",
    "MinGRU",
    "MinLSTM",
    "Model",
    "PlainSGD",
    "PointwiseCell",
    "Randomized",
    "Recurrent",
    "SentenceStream",
    "Serial",
    "Sliding",
    "Tail",
    "TrainState",
    "Truncated",
    "Truncation",
    "Windows",
    "all_carries",
    "chunked",
    "cross_entropy",
    "dropout",
    "echo_state",
    "elman",
    "full",
    "generate",
    "gru",
    "init_train_state",
    "interop",
    "language_model",
    "length_mask",
    "linear_scan",
    "lru",
    "lstm",
    "make_evaluate",
    "make_train_step",
    "make_train_steps",
    "min_gru",
    "min_lstm",
    "parse_truncation",
    "perplexity",
    "predict",
    "randomized",
    "recurrent",
    "ridge",
    "sentence_stream",
    "serial",
    "sgd",
    "sliding",
    "tail",
    "truncate",
    "unroll",
    "unroll_carries",
]
