"""The configuration of a training run, and the model, optimiser and loss that it names."""

from rnn_jax.runs.cells import CELLS
from rnn_jax.runs.models import make_model, truncated
from rnn_jax.runs.optimizers import evaluation_rules, make_optimizer, training_loss
from rnn_jax.runs.settings import BEFORE, TrainConfig

__all__ = [
    "BEFORE",
    "CELLS",
    "TrainConfig",
    "evaluation_rules",
    "make_model",
    "make_optimizer",
    "training_loss",
    "truncated",
]
