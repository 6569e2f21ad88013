"""Training: one pure step, and many of them inside one compiled call."""

from rnn_jax.training import schedules
from rnn_jax.training.averaging import ASGDState, EMAState, asgd, averaged, ema
from rnn_jax.training.batches import Windows, consecutive, covering
from rnn_jax.training.fed import Fed
from rnn_jax.training.fit import Diverged, fit
from rnn_jax.training.history import History
from rnn_jax.training.joining import joined
from rnn_jax.training.lazy import Lazy, lazy
from rnn_jax.training.loop import make_evaluate, make_train_steps
from rnn_jax.training.progress import Listener, Progress
from rnn_jax.training.report import TrainingReport
from rnn_jax.training.rules import (
    Rule,
    halve,
    learning_rate,
    plateau,
    set_learning_rate,
    start_averaging,
)
from rnn_jax.training.sgd import PlainSGD, sgd
from rnn_jax.training.step import TrainState, init_train_state, make_train_step
from rnn_jax.training.streams import SentenceStream, sentence_stream
from rnn_jax.training.tensorboard import TensorBoard

__all__ = [
    "ASGDState",
    "Diverged",
    "EMAState",
    "Fed",
    "History",
    "Lazy",
    "Listener",
    "PlainSGD",
    "Progress",
    "Rule",
    "SentenceStream",
    "TensorBoard",
    "TrainState",
    "TrainingReport",
    "Windows",
    "asgd",
    "averaged",
    "consecutive",
    "covering",
    "ema",
    "fit",
    "halve",
    "init_train_state",
    "joined",
    "lazy",
    "learning_rate",
    "make_evaluate",
    "make_train_step",
    "make_train_steps",
    "plateau",
    "schedules",
    "sentence_stream",
    "set_learning_rate",
    "sgd",
    "start_averaging",
]
