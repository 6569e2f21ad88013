"""What training minimises: cross-entropy by gradients, ridge regression in closed form."""

from rnn_jax.losses.cross_entropy import cross_entropy, perplexity
from rnn_jax.losses.ridge import ridge

__all__ = ["cross_entropy", "perplexity", "ridge"]
