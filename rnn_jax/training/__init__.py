"""Training: one pure step, and many of them inside one compiled call."""

from rnn_jax.training.batches import Windows, consecutive, covering
from rnn_jax.training.fit import Diverged, fit
from rnn_jax.training.history import History
from rnn_jax.training.loop import make_evaluate, make_train_steps
from rnn_jax.training.progress import Listener, Progress
from rnn_jax.training.sgd import PlainSGD, sgd
from rnn_jax.training.step import TrainState, init_train_state, make_train_step
from rnn_jax.training.streams import SentenceStream, sentence_stream

__all__ = [
    "Diverged",
    "History",
    "Listener",
    "PlainSGD",
    "Progress",
    "SentenceStream",
    "TrainState",
    "Windows",
    "consecutive",
    "covering",
    "fit",
    "init_train_state",
    "make_evaluate",
    "make_train_step",
    "make_train_steps",
    "sentence_stream",
    "sgd",
]
