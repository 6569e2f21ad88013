"""What cells with fused gates share: parameters, input product, initial carry."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, TypedDict

import jax
import jax.numpy as jnp

from rnn_jax.arrays.products import affine
from rnn_jax.cells.base import BaseCell
from rnn_jax.cells.initializers import Initializer, check_initializer, draw
from rnn_jax.cells.projection import input_product
from rnn_jax.host.checks import check_members, positive
from rnn_jax.types import Array, Carry, Params, state_dtype

__all__ = ["CellOptions", "GatedCell"]


class CellOptions(TypedDict, total=False):
    """What every factory of a gated cell takes by keyword.

    bias: whether there is a ``b`` beside the input product; True.
    recurrent_bias: whether there is a second bias ``b_hh`` beside the recurrent product, as in
      PyTorch; False, but for ``gru(reset="after")``, which needs it.
    learned_carry: whether the initial carry is a parameter, ``"carry"``, zero at first; False.
    w_ih_init, w_hh_init: how the matrices are drawn, gate by gate: "uniform" (±1/√fan-in, the
      default), "uniform_fan_out" (±1/√H, as in PyTorch), "orthogonal", "glorot_uniform",
      "glorot_normal", "lecun_normal", "zeros", or a function of (key, shape, dtype) that is
      given the shape of one gate.
    b_init: how the biases are drawn: "zeros" (the default), "uniform", "uniform_fan_out" (±1/√H
      both, as in PyTorch), or a function.
    """

    bias: bool
    recurrent_bias: bool
    learned_carry: bool
    w_ih_init: Initializer
    w_hh_init: Initializer
    b_init: Initializer


@dataclass(frozen=True)
class GatedCell(BaseCell):
    """Parameters of ``gates`` blocks of ``H`` columns, one a gate; a cell adds its ``step``.

    ``w_ih [D, G·H]``, ``w_hh [H, G·H]``, and as the options of `CellOptions` say ``b [G·H]``,
    ``b_hh [G·H]`` and ``carry``.
    """

    hidden_size: int
    _: KW_ONLY
    bias: bool = True
    recurrent_bias: bool = False
    learned_carry: bool = False
    w_ih_init: Initializer = "uniform"
    w_hh_init: Initializer = "uniform"
    b_init: Initializer = "zeros"
    gates: ClassVar[int] = 1
    # The blocks that are gates between 0 and 1, in the order of `gate_activations`.
    gate_names: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        positive(hidden_size=self.hidden_size)
        check_initializer(w_ih_init=self.w_ih_init, w_hh_init=self.w_hh_init, b_init=self.b_init)

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
        keys = jax.random.split(key, 4)
        size, gates = self.hidden_size, self.gates
        params = {
            "w_ih": draw(self.w_ih_init, keys[0], (input_size, size), gates),
            "w_hh": draw(self.w_hh_init, keys[1], (self.output_size, size), gates),
        }
        if self.bias:
            params["b"] = draw(self.b_init, keys[2], (size,), gates)
        if self.recurrent_bias:
            params["b_hh"] = draw(self.b_init, keys[3], (size,), gates)
        if self.learned_carry:
            params["carry"] = self.zero_carry((), params["w_hh"].dtype)
        return params

    def zero_carry(self, batch_shape: tuple[int, ...], dtype: jnp.dtype | None) -> Carry:
        """Zeros of the carry's shapes: ``h [*B, H]``, unless a cell says otherwise here."""
        return jnp.zeros((*batch_shape, self.output_size), dtype)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """Zeros, or what ``params`` hold as ``carry``; in their `state_dtype`."""
        if params is None:
            return self.zero_carry(batch_shape, None)
        check_members(self, params)
        if "w_hh" not in params:  # `project` says so
            return self.zero_carry(batch_shape, None)
        dtype = state_dtype(params["w_hh"].dtype)
        if "carry" not in params:
            return self.zero_carry(batch_shape, dtype)
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf.astype(dtype), (*batch_shape, *leaf.shape)),
            params["carry"],
        )

    def project(self, params: Params, xs: Array) -> Array:
        """``z = x W_ih + b`` for all steps: ``[T, B, G·H]`` in `state_dtype`.

        Raises:
          ValueError: the parameters are those of another cell.
        """
        check_members(self, params, "w_ih", "w_hh")
        columns = self.gates * self.hidden_size
        given = {name: params[name].shape for name in ("w_ih", "w_hh")}
        wanted = {"w_ih": (params["w_ih"].shape[0], columns), "w_hh": (self.output_size, columns)}
        if given != wanted:
            raise ValueError(
                f"the parameters have shapes {given}, but {type(self).__name__} of "
                f"{self.hidden_size} units needs {wanted}: pass those that its init gives"
            )
        return input_product(params["w_ih"], xs, params.get("b"))

    def split(self, product: Array) -> tuple[Array, ...]:
        """``[*B, G·H]`` as a tuple of ``[*B, H]``, one a gate."""
        size = self.hidden_size
        count = product.shape[-1] // size
        return tuple(product[..., i * size : (i + 1) * size] for i in range(count))

    def fed(self, carry: Carry) -> Array:
        """The leaf of the carry that the recurrent matrix multiplies."""
        leaf: Array = carry
        return leaf

    def recur(self, params: Params, h: Array) -> Array:
        """The recurrent product ``h W_hh (+ b_hh)``: ``[…, G·H]`` in `state_dtype`."""
        return affine(h, params["w_hh"], params.get("b_hh"))

    def gate_activations(
        self, params: Params, carry: Carry, new_carry: Carry, z: Array
    ) -> tuple[Array, ...]:
        """The activations of the gates that ``gate_names`` lists, for `gate_saturation` to read.

        By default they are ``σ(z + recur(h))`` of the first blocks. A cell whose gates differ says
        so here, as the LSTMs do.

        Args:
          params: the cell's parameters.
          carry: the carry before each step, ``[…, H]``, with any leading axes.
          new_carry: the carry after each step.
          z: the projected inputs of the same steps, ``[…, G·H]``.

        Returns:
          ``[…, H]`` for each gate.
        """
        sums = self.split(z + self.recur(params, self.fed(carry)))
        return tuple(jax.nn.sigmoid(block) for block in sums[: len(self.gate_names)])
