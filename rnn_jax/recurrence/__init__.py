"""A cell over time: `unroll`, its fast forms, and the plain scan that they are held to."""

from rnn_jax.recurrence.backend import BACKENDS
from rnn_jax.recurrence.engine import LOOPS
from rnn_jax.recurrence.gpu import Kernel
from rnn_jax.recurrence.linear import linear_scan
from rnn_jax.recurrence.loops import make_loops
from rnn_jax.recurrence.plan import Loops, Operands, Plan, Results
from rnn_jax.recurrence.unroll import Backend, batch_shape_of, unroll, unroll_carries

__all__ = [
    "BACKENDS",
    "LOOPS",
    "Backend",
    "Kernel",
    "Loops",
    "Operands",
    "Plan",
    "Results",
    "batch_shape_of",
    "linear_scan",
    "make_loops",
    "unroll",
    "unroll_carries",
]
