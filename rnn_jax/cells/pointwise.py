"""Cells whose units only meet in the recurrent product: a projection and a function of scalars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from rnn_jax.arrays.products import product
from rnn_jax.cells.base import Form
from rnn_jax.cells.gated import GatedCell
from rnn_jax.cells.memory import named
from rnn_jax.types import Array, Carry, Params

__all__ = ["PointwiseCell"]


@dataclass(frozen=True)
class PointwiseCell(GatedCell):
    """The common form of `elman`, `lstm` and `gru`, and of a cell of your own.

    ``z_t = x_t W_ih + b``, ``r_t = h_{t-1} W_hh (+ b_hh)``, then for every unit by itself
    ``c_t, y_t = pointwise(θ, c_{t-1}, z_t, r_t)``, where ``h`` is the leaf of the carry that `fed`
    names and ``θ`` are the unit's own parameters, if it has any. Both products hold ``gates``
    blocks of ``H`` columns, one a gate. Parameters are those of a `GatedCell`; ones from elsewhere
    may hold a ``b_hh`` in any case.

    Example:
      >>> import jax, rnn_jax
      >>> from dataclasses import dataclass
      >>> @dataclass(frozen=True)
      ... class Leaky(PointwiseCell):
      ...     leak: float = 0.1
      ...     def pointwise(self, theta, carry, z, r):
      ...         h = (1 - self.leak) * carry + self.leak * jax.numpy.tanh(z[0] + r[0])
      ...         return h, h
      >>> layer = rnn_jax.recurrent(Leaky(3))
      >>> params = layer.init(jax.random.key(0), 2)
      >>> layer.apply(params, None, jax.numpy.ones((5, 4, 2)))[1].shape
      (5, 4, 3)
    """

    form: ClassVar[Form] = "pointwise"
    # Whether `project` is that of a `GatedCell`, whose bias the fast recurrence adds step by step.
    bias_by_step: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "form" not in vars(cls):
            cls.form = "pointwise" if cls.step is PointwiseCell.step else "plain"
        cls.bias_by_step = cls.project is GatedCell.project

    def theta(self, params: Params) -> Params:
        """The parameters of single units, a tree of ``[H]``; none by default."""
        return ()

    def pointwise(
        self, theta: Params, carry: Carry, z: tuple[Array, ...], r: tuple[Array, ...]
    ) -> tuple[Carry, Array]:
        """The new carry and the output of ONE unit: scalars, and a tuple of scalars a gate."""
        raise TypeError(f"{type(self).__name__} has no pointwise function: define one")

    def step(self, params: Params, carry: Carry, z: Array) -> tuple[Carry, Array]:
        """One step: the recurrent product, then `pointwise` for every unit and row."""
        r = product(self.fed(carry), params["w_hh"])
        if "b_hh" in params:
            r = r + params["b_hh"].reshape((1,) * (r.ndim - 1) + (-1,))
        carry, y = self.pointwise_all(self.theta(params), carry, self.split(z), self.split(r))
        return carry, y.astype(params["w_hh"].dtype)

    def pointwise_all(
        self, theta: Params, carry: Carry, z: tuple[Array, ...], r: tuple[Array, ...]
    ) -> tuple[Carry, Array]:
        """`pointwise` for all units ``[H]`` of all rows ``[*B, H]``."""
        # Mapped over every axis, the function sees scalars and cannot mix units or rows.
        function: Any = jax.vmap(self.pointwise)
        for _ in range(z[0].ndim - 1):
            function = jax.vmap(function, (None, 0, 0, 0))
        new, y = function(theta, carry, z, r)
        return named(new, carry), y
