"""Recurrent cells: one step each, as immutable hyperparameters with pure methods."""

from rnn_jax.cells.elman import Elman, elman

__all__ = ["Elman", "elman"]
