"""Recurrent networks in JAX as pure functions.

    carry, ys = rnn_jax.unroll(cell, params, carry, xs)

Shapes are time-major: ``xs`` is ``float[T, B, D]`` or ``int[T, B]`` (integers are one-hot vectors),
``mask`` is ``bool[T, B]``. Cells, layers and models are immutable values with pure methods.
"""

# First, because it says what Ctrl-C does during the imports below where this is the command.
from rnn_jax.host import startup as _startup  # noqa: F401

# isort: split
from typing import TYPE_CHECKING, Any

from rnn_jax import diagnostics, interop
from rnn_jax.arrays.masking import length_mask
from rnn_jax.cells import (
    LRU,
    LSTM,
    BaseCell,
    EchoState,
    Elman,
    GRUAfter,
    GRUBefore,
    LayerNormElman,
    LayerNormGRU,
    LayerNormLSTM,
    LinearCell,
    LSTMCarry,
    MinGRU,
    MinLSTM,
    PeepholeLSTM,
    PointwiseCell,
    ProjectedLSTM,
    echo_state,
    elman,
    gru,
    lru,
    lstm,
    min_gru,
    min_lstm,
)
from rnn_jax.generation import beam_search, generate, predict, run_freely, stream
from rnn_jax.layers import (
    BaseLayer,
    Bidirectional,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    MixedPrecision,
    Recurrent,
    Remat,
    Residual,
    Serial,
    WeightDrop,
    Zoneout,
    all_carries,
    bidirectional,
    dropout,
    embedding,
    layer_norm,
    linear,
    mixed_precision,
    recurrent,
    remat,
    residual,
    serial,
    weight_drop,
    zoneout,
)
from rnn_jax.losses.cross_entropy import cross_entropy, perplexity
from rnn_jax.losses.mean_squared_error import mean_squared_error
from rnn_jax.losses.ridge import ridge
from rnn_jax.models import (
    EncoderDecoder,
    LanguageModel,
    SequenceClassifier,
    SequenceTagger,
    encoder_decoder,
    language_model,
    sequence_classifier,
    sequence_tagger,
)
from rnn_jax.recurrence.linear import linear_scan
from rnn_jax.recurrence.unroll import unroll, unroll_carries
from rnn_jax.training import (
    ASGDState,
    EMAState,
    PlainSGD,
    Rule,
    SentenceStream,
    TrainState,
    Windows,
    asgd,
    averaged,
    ema,
    fit,
    halve,
    init_train_state,
    learning_rate,
    make_evaluate,
    make_train_step,
    make_train_steps,
    plateau,
    schedules,
    sentence_stream,
    set_learning_rate,
    sgd,
    start_averaging,
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
    truncated_scan,
)
from rnn_jax.types import Batch, Cell, Layer, Model

if TYPE_CHECKING:
    from rnn_jax.runs.load import Run, load_run

__version__ = "0.1.0"

__all__ = [
    "LRU",
    "LSTM",
    "ASGDState",
    "BaseCell",
    "BaseLayer",
    "Batch",
    "Bidirectional",
    "Cell",
    "Chunked",
    "Dropout",
    "EMAState",
    "EchoState",
    "Elman",
    "Embedding",
    "EncoderDecoder",
    "Full",
    "GRUAfter",
    "GRUBefore",
    "LSTMCarry",
    "LanguageModel",
    "Layer",
    "LayerNorm",
    "LayerNormElman",
    "LayerNormGRU",
    "LayerNormLSTM",
    "Linear",
    "LinearCell",
    "MinGRU",
    "MinLSTM",
    "MixedPrecision",
    "Model",
    "PeepholeLSTM",
    "PlainSGD",
    "PointwiseCell",
    "ProjectedLSTM",
    "Randomized",
    "Recurrent",
    "Remat",
    "Residual",
    "Rule",
    "Run",
    "SentenceStream",
    "SequenceClassifier",
    "SequenceTagger",
    "Serial",
    "Sliding",
    "Tail",
    "TrainState",
    "Truncated",
    "Truncation",
    "WeightDrop",
    "Windows",
    "Zoneout",
    "all_carries",
    "asgd",
    "averaged",
    "beam_search",
    "bidirectional",
    "chunked",
    "cross_entropy",
    "diagnostics",
    "dropout",
    "echo_state",
    "elman",
    "ema",
    "embedding",
    "encoder_decoder",
    "fit",
    "full",
    "generate",
    "gru",
    "halve",
    "init_train_state",
    "interop",
    "language_model",
    "layer_norm",
    "learning_rate",
    "length_mask",
    "linear",
    "linear_scan",
    "load_run",
    "lru",
    "lstm",
    "make_evaluate",
    "make_train_step",
    "make_train_steps",
    "mean_squared_error",
    "min_gru",
    "min_lstm",
    "mixed_precision",
    "parse_truncation",
    "perplexity",
    "plateau",
    "predict",
    "randomized",
    "recurrent",
    "remat",
    "residual",
    "ridge",
    "run_freely",
    "schedules",
    "sentence_stream",
    "sequence_classifier",
    "sequence_tagger",
    "serial",
    "set_learning_rate",
    "sgd",
    "sliding",
    "start_averaging",
    "stream",
    "tail",
    "truncate",
    "truncated_scan",
    "unroll",
    "unroll_carries",
    "weight_drop",
    "zoneout",
]


def __getattr__(name: str) -> Any:
    # Only when they are asked for: what they need, NLTK among it, is slow to import.
    if name not in ("Run", "load_run"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rnn_jax.runs import load

    return getattr(load, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
