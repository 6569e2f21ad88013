"""The vocabulary of the package: shapes, options and the protocols `Cell`, `Layer` and `Model`.

Shapes are time-major everywhere: ``T`` time steps, ``B`` batch, ``D`` input features, ``H`` hidden
units, ``V`` vocabulary. The batch shape may be ``()``, ``(B,)`` or longer. Inputs are
``float[T, B, D]`` or ``int[T, B]``; integers are one-hot vectors and select a row of the input
matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

__all__ = [
    "Along",
    "Array",
    "Batch",
    "Carry",
    "Cell",
    "Layer",
    "Model",
    "Params",
    "Share",
    "Steps",
    "state_dtype",
]

Array = jax.Array
Params = Any  # a dict of arrays, possibly nested
Carry = Any  # a pytree of arrays whose leading axes are the batch shape


def state_dtype(dtype: DTypeLike) -> jnp.dtype:
    """The dtype of carries and sums beside parameters of ``dtype``: float32 at the least.

    Example:
      >>> state_dtype("bfloat16"), state_dtype("float64")
      (dtype('float32'), dtype('float64'))
    """
    with jax.numpy_dtype_promotion("standard"):  # nothing is promoted by surprise here
        return jnp.promote_types(dtype, jnp.float32)


class Steps(NamedTuple):
    """What each step receives beside its input, ``[T, B]`` each; None where there is nothing.

    mask: ``bool[T, B]``; where False the carry is held and the output is zero.
    gradient_scale: ``float[T, B]``, the factor on the gradient of the carry before each step
      (values never change). This is how a truncation reaches every recurrence inside a layer.
    resets: ``bool[T, B]``, True on the first step of a new sequence: the carry before that step is
      the initial one. A reversed recurrence resets between the same two steps.
    """

    mask: Array | None = None
    gradient_scale: Array | None = None
    resets: Array | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Share:
    """Rows ``first … first+B-1`` of a batch of ``total``, whose noise is that of the whole batch.

    The whole is drawn, and these rows kept, which takes as long as on one device.
    """

    first: Array | int
    total: int = field(metadata={"static": True})


class Along(NamedTuple):
    """What travels along a sequence beside the input; a layer hands on what it does not use.

    mask, gradient_scale, resets: see `Steps`.
    key: for noise; None for inference, without noise.
    start: the absolute position of the first step, so that noise depends on the step and not on
      how a sequence was cut.
    rows: the global index of the first row of the batch; noise is then drawn row by row, so that
      it does not depend on how a batch was cut. None: one draw for the whole batch; a `Share`: the
      part of such a draw that is this batch's.
    """

    mask: Array | None = None
    key: Array | None = None
    gradient_scale: Array | None = None
    start: Array | int = 0
    rows: Array | int | Share | None = None
    resets: Array | None = None

    @property
    def steps(self) -> Steps:
        """The part with a time axis."""
        return Steps(self.mask, self.gradient_scale, self.resets)

    def over(self, steps: Steps, start: Array | int) -> Along:
        """The same for other steps, the first of them at the absolute position ``start``."""
        return self._replace(**steps._asdict(), start=start)


class Batch(NamedTuple):
    """One batch: ``inputs [T, B(, D)]``, ``targets [T, B(, C)]``, ``mask bool[T, B]``.

    resets: ``bool[T, B]``, True on the first step of a new sequence within a row, such as a
      document in a stream of them; see `Steps`.
    source: what an `encoder_decoder` reads before, ``[S, B(, D)]``; its decoder is then given the
      inputs (teacher forcing), and the mask is that of the targets.
    source_mask: ``bool[S, B]``.
    """

    inputs: Array
    targets: Array
    mask: Array | None = None
    resets: Array | None = None
    source: Array | None = None
    source_mask: Array | None = None


@runtime_checkable
class Cell(Protocol):
    """One recurrent step as pure functions; an immutable, hashable set of hyperparameters.

    ``c_t, y_t = step(params, c_{t-1}, z_t)`` with ``z = project(params, xs)`` the product of all
    inputs with the input matrix, which does not depend on the carry.
    """

    @property
    def output_size(self) -> int:
        """Features of one output."""
        ...

    def init(self, key: Array, input_size: int) -> Params:
        """New parameters for inputs of ``input_size`` features (or ids below it)."""
        ...

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The carry before the first step: zeros, or learned from ``params``."""
        ...

    def project(self, params: Params, xs: Array) -> Any:
        """The input product of all steps, ``[T, B, D]`` or ``int[T, B]`` to ``[T, B, …]``."""
        ...

    def step(self, params: Params, carry: Carry, z: Any) -> tuple[Carry, Array]:
        """One step: the new carry and the output."""
        ...


@runtime_checkable
class Layer(Protocol):
    """A map of sequences to sequences with a carry; an immutable, hashable value.

    This is all that a class of your own must have. One that derives from `BaseLayer` declares more
    and is faster: the carry after every step at once, row-sparse updates of its input matrix.

    ``causal`` says that an output depends on no later input; only a causal layer can be
    truncated, streamed or sampled from.
    """

    @property
    def output_size(self) -> int | None:
        """Features of one output; None where it equals the number of input features."""
        ...

    @property
    def causal(self) -> bool:
        """Whether an output depends on no later input."""
        ...

    def init(self, key: Array, input_size: int) -> Params:
        """New parameters for inputs of ``input_size`` features (or ids below it)."""
        ...

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The carry before the first step."""
        ...

    def apply(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        mask: Array | None = None,
        key: Array | None = None,
        gradient_scale: Array | None = None,
        start: Array | int = 0,
        rows: Array | int | Share | None = None,
        resets: Array | None = None,
    ) -> tuple[Carry, Array]:
        """The sequence ``xs`` from ``carry`` (None: the initial one): new carry and outputs.

        See `Along` for the options. A class of your own may accept fewer: those that nobody sets
        are not passed, but for ``mask`` and ``key``.
        """
        ...


@runtime_checkable
class Model(Protocol):
    """As a `Layer`, but ``init(key)``: sequences in, logits ``float[T, B, V]`` or numbers out."""

    @property
    def output_size(self) -> int:
        """``V``, the number of logits."""
        ...

    @property
    def causal(self) -> bool:
        """Whether an output depends on no later input."""
        ...

    def init(self, key: Array) -> Params:
        """New parameters."""
        ...

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The carry before the first step."""
        ...

    def apply(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        mask: Array | None = None,
        key: Array | None = None,
        gradient_scale: Array | None = None,
        start: Array | int = 0,
        rows: Array | int | Share | None = None,
        resets: Array | None = None,
    ) -> tuple[Carry, Array]:
        """The tokens ``xs`` from ``carry``: the new carry and the logits."""
        ...
