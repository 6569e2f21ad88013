"""What training minimises: losses of steps by gradients, ridge regression in closed form."""

from rnn_jax.losses.cross_entropy import cross_entropy, perplexity
from rnn_jax.losses.linear_cross_entropy import linear_cross_entropy
from rnn_jax.losses.mean_squared_error import mean_squared_error
from rnn_jax.losses.ridge import ridge

__all__ = ["cross_entropy", "linear_cross_entropy", "mean_squared_error", "perplexity", "ridge"]
