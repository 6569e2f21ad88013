"""The simple recurrent network of Elman."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rnn_jax.cells.projection import input_product
from rnn_jax.checks import positive
from rnn_jax.types import Array, Params

__all__ = ["Elman", "elman"]

_uniform = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@dataclass(frozen=True)
class Elman:
    """Hyperparameters of `elman`, with the pure functions of a `Cell`."""

    hidden_size: int
    activation: Callable[[Array], Array] = jnp.tanh
    bias: bool = True

    def __post_init__(self) -> None:
        positive(hidden_size=self.hidden_size)

    @property
    def output_size(self) -> int:
        """``H``."""
        return self.hidden_size

    @property
    def input_table(self) -> tuple[str, ...]:
        """Where in the parameters the rows stand that an integer input selects."""
        return ("w_ih",)

    def init(self, key: Array, input_size: int) -> Params:
        """``w_ih [D, H]`` and ``w_hh [H, H]`` uniform in ±1/√fan-in; ``b [H]`` zero."""
        positive(input_size=input_size)
        key_ih, key_hh = jax.random.split(key)
        params = {
            "w_ih": _uniform(key_ih, (input_size, self.hidden_size)),
            "w_hh": _uniform(key_hh, (self.hidden_size, self.hidden_size)),
        }
        return params | {"b": jnp.zeros(self.hidden_size)} if self.bias else params

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Array:
        """Zeros ``[*B, H]`` in the dtype of ``params``."""
        dtype = None if params is None else params["w_hh"].dtype
        return jnp.zeros((*batch_shape, self.hidden_size), dtype)

    def project(self, params: Params, xs: Array) -> Array:
        """``z = x W_ih + b`` for all steps: ``[T, B, H]``."""
        return input_product(params["w_ih"], xs, params.get("b"))

    def step(self, params: Params, carry: Array, z: Array) -> tuple[Array, Array]:
        """``h_t = φ(z_t + h_{t-1} W_hh)``; the output is the carry."""
        h = self.activation(z + carry @ params["w_hh"])
        return h, h


def elman(
    hidden_size: int, *, activation: Callable[[Array], Array] = jnp.tanh, bias: bool = True
) -> Elman:
    """The simple recurrent network: one hidden vector, fed back.

    ``h_t = φ(x_t W_ih + h_{t-1} W_hh + b)``, ``y_t = h_t``.

    Parameters: ``{"w_ih": [D, H], "w_hh": [H, H], "b": [H]}`` (no "b" with ``bias=False``);
    matrices uniform in ±1/√fan-in, bias zero.

    Args:
      hidden_size: ``H``.
      activation: ``φ``, element-wise, for instance ``jnp.tanh``, ``jax.nn.relu``,
        ``jax.nn.sigmoid``.
      bias: whether there is a ``b``.

    Returns:
      A `Cell`; its carry is ``h [B, H]``.

    Raises:
      ValueError: ``hidden_size`` is not a positive integer.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.elman(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnn_jax.unroll(cell, params, None, jax.numpy.ones((5, 4, 2)))
      >>> carry.shape, ys.shape
      ((4, 3), (5, 4, 3))

    Reference:
      Elman, Finding structure in time, Cognitive Science 14 (1990).
    """
    return Elman(hidden_size, activation, bias)
