"""The published models in NumPy: the baselines to be timed against, and the tests' oracles."""

from rnn_jax.reference.binary_addition import NumpyAdder, draw_addends, to_bits
from rnn_jax.reference.train import train
from rnn_jax.reference.vectorised import VectorisedRNN
from rnn_jax.reference.word_model import NumpyRNN

__all__ = ["NumpyAdder", "NumpyRNN", "VectorisedRNN", "draw_addends", "to_bits", "train"]
