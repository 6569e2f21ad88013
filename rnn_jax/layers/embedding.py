"""Vectors for token ids."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.arrays.tokens import check_ids, is_ids, look_up
from rnn_jax.host.checks import member, positive
from rnn_jax.layers.base import BaseLayer
from rnn_jax.types import Along, Array, Carry, Params

__all__ = ["Embedding", "embedding"]


@dataclass(frozen=True)
class Embedding(BaseLayer):
    """Hyperparameters of `embedding`, with the pure functions of a `Layer`."""

    size: int

    def __post_init__(self) -> None:
        positive(embedding_size=self.size)

    @property
    def output_size(self) -> int:
        """``E``."""
        return self.size

    @property
    def input_table(self) -> tuple[str, ...]:
        """Where in the parameters the rows stand that an integer input selects."""
        return ("embedding",)

    def init(self, key: Array, input_size: int) -> Params:
        """``{"embedding": [V, E]}``, normal, for ids below ``input_size``."""
        positive(input_size=input_size)
        return {"embedding": jax.random.normal(key, (input_size, self.size))}

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """Rows of the table."""
        if not is_ids(xs):
            raise ValueError(f"an embedding reads token ids, integers, not {xs.dtype}")
        mask = along.mask
        check_mask(mask, xs.shape)
        table = member(self, params, "embedding")
        check_ids(xs, table.shape[0], mask)
        return (), fill_masked(look_up(table, fill_masked(xs, mask)), mask)


def embedding(size: int) -> Embedding:
    """The layer that gives every token id its own learned vector.

    ``y_t = E[x_t]``; zero where the mask is False.

    Parameters: ``{"embedding": [V, E]}``, drawn from N(0, 1); ``V`` is the ``input_size`` given to
    ``init``.

    Args:
      size: ``E``.

    Returns:
      A `Layer` of ``int[T, B]`` to ``float[T, B, E]``; its carry is empty.

    Raises:
      ValueError: the size is not a positive integer. ``apply`` raises it for features, and for an
        id outside the vocabulary, which is NaN under jit.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> layer = rnn_jax.serial(embedding(4), rnn_jax.recurrent(rnn_jax.elman(3)))
      >>> params = layer.init(jax.random.key(0), 10)
      >>> params["0"]["embedding"].shape
      (10, 4)
      >>> layer.apply(params, None, jnp.array([[3], [1], [4]]))[1].shape
      (3, 1, 3)

    Reference:
      Bengio et al., A neural probabilistic language model, Journal of Machine Learning Research 3
      (2003).
    """
    return Embedding(size)
