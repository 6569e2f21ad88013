"""The published models in NumPy: baselines for timing and oracles for the tests."""

from rnn_jax.reference.binary_addition import NumpyAdder, draw_addends, to_bits
from rnn_jax.reference.operation_graph import (
    GATES,
    Gate,
    OperationGraphRNN,
    Step,
    layer_backward,
    layer_forward,
)
from rnn_jax.reference.train import train
from rnn_jax.reference.vectorised import VectorisedRNN
from rnn_jax.reference.word_model import NumpyRNN

__all__ = [
    "GATES",
    "Gate",
    "NumpyAdder",
    "NumpyRNN",
    "OperationGraphRNN",
    "Step",
    "VectorisedRNN",
    "draw_addends",
    "layer_backward",
    "layer_forward",
    "to_bits",
    "train",
]
