"""Cells that are linear in their carry, unit by unit: all steps can run in parallel."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from rnn_jax.cells.base import BaseCell, Form
from rnn_jax.cells.projection import input_product
from rnn_jax.host.checks import check_members, positive
from rnn_jax.types import Array, Params, state_dtype

__all__ = ["LinearCell"]


@dataclass(frozen=True)
class LinearCell(BaseCell):
    """The common form of `min_gru`, `min_lstm` and `lru`, and of a linear cell of your own.

    ``z_t = x_t W_ih (+ b)``, ``a_t, b_t = coefficients(z_t)``, ``c_t = a_t ⊙ c_{t-1} + b_t``,
    ``y_t = read(c_t, z_t)``. The carry is one array ``c [B, H]``, and neither ``a`` nor ``b``
    depends on it, so that `unroll` computes all steps together by `linear_scan`; with
    ``backend="scan"`` they run one after the other, and forward-mode derivatives work, too. A cell
    adds ``init``, whose parameters hold ``w_ih`` (and ``b``, if there is one), and `coefficients`,
    which like `read` gets one step ``[B, …]`` or all of them ``[T, B, …]``.

    Example:
      >>> import jax, rnn_jax
      >>> from dataclasses import dataclass
      >>> @dataclass(frozen=True)
      ... class Average(LinearCell):
      ...     keep: float = 0.9
      ...     def init(self, key, input_size):
      ...         return {"w_ih": jax.random.normal(key, (input_size, self.hidden_size))}
      ...     def coefficients(self, params, z):
      ...         return jax.numpy.full_like(z, self.keep), (1 - self.keep) * z
      >>> layer = rnn_jax.recurrent(Average(3))
      >>> params = layer.init(jax.random.key(0), 2)
      >>> layer.apply(params, None, jax.numpy.ones((5, 4, 2)))[1].shape
      (5, 4, 3)
    """

    hidden_size: int
    _: KW_ONLY
    learned_carry: bool = False
    form: ClassVar[Form] = "linear"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "form" not in vars(cls):
            cls.form = "linear" if cls.step is LinearCell.step else "plain"

    # The gates between 0 and 1, in the order of `gate_activations`.
    gate_names: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        positive(hidden_size=self.hidden_size)

    @property
    def output_size(self) -> int:
        """``H``, unless `read` gives something else."""
        return self.hidden_size

    @property
    def input_table(self) -> tuple[str, ...]:
        """Where in the parameters the rows stand that an integer input selects."""
        return ("w_ih",)

    def init(self, key: Array, input_size: int) -> Params:
        """The parameters; every cell says what they are."""
        raise TypeError(f"{type(self).__name__} has no init: define one")

    def coefficients(self, params: Params, z: Array) -> tuple[Array, Array]:
        """``a`` and ``b`` for projected inputs ``[…, G]``: ``[…, H]``; ``a``'s axes may be one."""
        raise TypeError(f"{type(self).__name__} has no coefficients: define them")

    def read(self, params: Params, carry: Array, z: Array) -> Array:
        """The output, ``[…, H]``: the carry itself."""
        return carry.astype(params["w_ih"].dtype)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Array:
        """Zeros, or what ``params`` hold as ``carry``; in their `state_dtype`."""
        if params is None:
            return jnp.zeros((*batch_shape, self.hidden_size))
        check_members(self, params, "w_ih")
        carry = params.get("carry", jnp.zeros(self.hidden_size))
        return jnp.broadcast_to(
            carry.astype(state_dtype(params["w_ih"].dtype)), (*batch_shape, self.hidden_size)
        )

    def project(self, params: Params, xs: Array) -> Array:
        """``z = x W_ih (+ b)`` for all steps: ``[T, B, G]`` in `state_dtype`."""
        check_members(self, params, "w_ih")
        return input_product(params["w_ih"], xs, params.get("b"))

    def step(self, params: Params, carry: Array, z: Array) -> tuple[Array, Array]:
        """One step: ``c = a ⊙ c + b``, and what is read from it."""
        a, b = self.coefficients(params, z)
        carry = a * carry + b
        return carry, self.read(params, carry, z)

    def gate_activations(
        self, params: Params, carry: Array, new_carry: Array, z: Array
    ) -> tuple[Array, ...]:
        """The activations of the gates that ``gate_names`` lists, as those of `GatedCell`."""
        return ()
