"""The published word model in NumPy: the baseline to be timed against, and the tests' oracle."""

from rnn_jax.reference.train import train
from rnn_jax.reference.vectorised import VectorisedRNN
from rnn_jax.reference.word_model import NumpyRNN

__all__ = ["NumpyRNN", "VectorisedRNN", "train"]
