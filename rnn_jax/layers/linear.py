"""An affine map of each step by itself."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.cells.initializers import uniform_fan_in
from rnn_jax.cells.projection import input_product
from rnn_jax.host.checks import member, positive
from rnn_jax.layers.base import BaseLayer
from rnn_jax.recurrence.layouts import batch_shape_of
from rnn_jax.types import Along, Array, Carry, Params

__all__ = ["Linear", "linear"]


@dataclass(frozen=True)
class Linear(BaseLayer):
    """Hyperparameters of `linear`, with the pure functions of a `Layer`."""

    size: int
    bias: bool = True

    def __post_init__(self) -> None:
        positive(size=self.size)

    @property
    def output_size(self) -> int:
        """``O``."""
        return self.size

    @property
    def input_table(self) -> tuple[str, ...]:
        """Where in the parameters the rows stand that an integer input selects."""
        return ("w",)

    def init(self, key: Array, input_size: int) -> Params:
        """``{"w": [D, O], "b"?: [O]}``; see `linear`."""
        positive(input_size=input_size)
        params = {"w": uniform_fan_in(key, (input_size, self.size))}
        return {**params, "b": jnp.zeros(self.size)} if self.bias else params

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """``xs W + b``, or the rows of ``W`` that ids select."""
        w, mask = member(self, params, "w"), along.mask
        check_mask(mask, (*xs.shape[:1], *batch_shape_of(xs)))
        ys = input_product(w, fill_masked(xs, mask), params.get("b"))
        # The bias is there at masked steps, too.
        return (), fill_masked(ys.astype(w.dtype), mask)


def linear(size: int, *, bias: bool = True) -> Linear:
    """The layer that maps each step by itself: ``y_t = x_t W + b``; zero where the mask is False.

    Integers are one-hot vectors and select a row, ``y_t = W[x_t] + b``.

    Parameters: ``{"w": [D, O], "b": [O]}`` (no "b" without bias); ``w`` uniform in ±1/√D, ``b``
    zero. Those of `ridge` have the same form.

    Args:
      size: ``O``.
      bias: whether there is a bias.

    Returns:
      A `Layer` of ``float[T, B, D]`` or ``int[T, B]`` to ``float[T, B, O]``; its carry is empty.

    Raises:
      ValueError: the size is not a positive integer. ``apply`` raises it for inputs of another
        size, and for an id outside the table, which is NaN under jit.

    Example:
      >>> import jax, rnn_jax
      >>> layer = rnn_jax.serial(linear(4), rnn_jax.recurrent(rnn_jax.gru(8)), linear(2))
      >>> params = layer.init(jax.random.key(0), 5)
      >>> layer.apply(params, None, jax.numpy.ones((7, 3, 5)))[1].shape
      (7, 3, 2)
    """
    return Linear(size, bias)
