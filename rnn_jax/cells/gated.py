"""What cells with fused gates share: parameters, input product, initial carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from rnn_jax.cells.projection import input_product
from rnn_jax.checks import positive
from rnn_jax.types import Array, Carry, Params

__all__ = ["GatedCell"]

_uniform = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@dataclass(frozen=True)
class GatedCell:
    """Parameters of ``gates`` blocks of ``H`` columns, one a gate; a cell adds its ``step``.

    ``w_ih [D, G·H]`` and ``w_hh [H, G·H]`` uniform in ±1/√fan-in; ``b [G·H]`` zero, unless
    ``bias=False``; ``b_hh [G·H]`` zero, too, for a cell with ``recurrent_bias``.
    """

    hidden_size: int
    bias: bool = True
    gates: ClassVar[int] = 1
    recurrent_bias: ClassVar[bool] = False

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
        """The parameters; see the class."""
        positive(input_size=input_size)
        key_ih, key_hh = jax.random.split(key)
        width = self.gates * self.hidden_size
        params = {
            "w_ih": _uniform(key_ih, (input_size, width)),
            "w_hh": _uniform(key_hh, (self.hidden_size, width)),
        }
        if self.bias:
            params["b"] = jnp.zeros(width)
            if self.recurrent_bias:
                params["b_hh"] = jnp.zeros(width)
        return params

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """Zeros ``[*B, H]`` in the dtype of ``params``."""
        dtype = None if params is None else params["w_hh"].dtype
        return jnp.zeros((*batch_shape, self.hidden_size), dtype)

    def project(self, params: Params, xs: Array) -> Array:
        """``z = x W_ih + b`` for all steps: ``[T, B, G·H]``."""
        return input_product(params["w_ih"], xs, params.get("b"))

    def split(self, product: Array) -> tuple[Array, ...]:
        """``[*B, G·H]`` as a tuple of ``[*B, H]``, one a gate."""
        size = self.hidden_size
        return tuple(product[..., i * size : (i + 1) * size] for i in range(self.gates))
