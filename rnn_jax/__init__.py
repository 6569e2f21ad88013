"""Recurrent networks in JAX as pure functions.

    carry, ys = rnn_jax.unroll(cell, params, carry, xs)

Shapes are time-major: ``xs`` is ``float[T, B, D]`` or ``int[T, B]`` (integers are one-hot vectors),
``mask`` is ``bool[T, B]``. Cells, layers and models are immutable values with pure methods.
"""

from rnn_jax import interop
from rnn_jax.cells import (
    LSTM,
    Elman,
    GRUAfter,
    GRUBefore,
    LayerNormElman,
    LayerNormGRU,
    LayerNormLSTM,
    PeepholeLSTM,
    PointwiseCell,
    ProjectedLSTM,
    elman,
    gru,
    lstm,
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
from rnn_jax.losses import cross_entropy, perplexity
from rnn_jax.masking import length_mask
from rnn_jax.models import LanguageModel, language_model
from rnn_jax.recurrence import unroll, unroll_carries
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
    "LSTM",
    "Batch",
    "Cell",
    "Chunked",
    "Dropout",
    "Elman",
    "Full",
    "GRUAfter",
    "GRUBefore",
    "LanguageModel",
    "Layer",
    "LayerNormElman",
    "LayerNormGRU",
    "LayerNormLSTM",
    "Model",
    "PeepholeLSTM",
    "PlainSGD",
    "PointwiseCell",
    "ProjectedLSTM",
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
    "elman",
    "full",
    "generate",
    "gru",
    "init_train_state",
    "interop",
    "language_model",
    "length_mask",
    "lstm",
    "make_evaluate",
    "make_train_step",
    "make_train_steps",
    "parse_truncation",
    "perplexity",
    "predict",
    "randomized",
    "recurrent",
    "sentence_stream",
    "serial",
    "sgd",
    "sliding",
    "tail",
    "truncate",
    "unroll",
    "unroll_carries",
]
