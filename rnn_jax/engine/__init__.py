"""The fast recurrence: one custom derivative for every cell of the pointwise form."""

from rnn_jax.engine.loops import make_loops
from rnn_jax.engine.plan import Loops, Operands, Plan, Results, reads_only_sums
from rnn_jax.engine.run import LOOPS, run

__all__ = ["LOOPS", "Loops", "Operands", "Plan", "Results", "make_loops", "reads_only_sums", "run"]
