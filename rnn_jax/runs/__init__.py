"""Training runs of the command line: configuration, data, folder, training, samples."""

from rnn_jax.runs.config import (
    CELLS,
    TrainConfig,
    evaluation_rules,
    make_model,
    make_optimizer,
    training_loss,
    truncated,
)
from rnn_jax.runs.create import (
    create_folder,
    latest_folder,
    new_folder,
    open_folder,
    resumed_folder,
)
from rnn_jax.runs.data import RunData, prepare
from rnn_jax.runs.evaluation import Evaluation, evaluate_text
from rnn_jax.runs.fit import evaluator, fit
from rnn_jax.runs.folder import RunFolder
from rnn_jax.runs.gradients import check_gradients
from rnn_jax.runs.load import Run, load_run
from rnn_jax.runs.memory import check_bytes, check_memory
from rnn_jax.runs.plots import plot_loss
from rnn_jax.runs.samples import sample_texts

__all__ = [
    "CELLS",
    "Evaluation",
    "Run",
    "RunData",
    "RunFolder",
    "TrainConfig",
    "check_bytes",
    "check_gradients",
    "check_memory",
    "create_folder",
    "evaluate_text",
    "evaluation_rules",
    "evaluator",
    "fit",
    "latest_folder",
    "load_run",
    "make_model",
    "make_optimizer",
    "new_folder",
    "open_folder",
    "plot_loss",
    "prepare",
    "resumed_folder",
    "sample_texts",
    "training_loss",
    "truncated",
]
