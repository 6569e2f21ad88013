"""A cell whose units now and then keep their old value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.noise import every_step
from rnn_jax.cells import PointwiseCell
from rnn_jax.cells.memory import named
from rnn_jax.jaxprs import returns_one_value
from rnn_jax.layers.dropout import check_rate
from rnn_jax.layers.recurrent import Recurrent, recurrent
from rnn_jax.layers.wrapper import Wrapper
from rnn_jax.recurrence.unroll import Backend, batch_shape_of
from rnn_jax.types import Along, Array, Carry, Cell, Params

__all__ = ["Zoneout", "zoneout"]

# Where the noise of all steps stands beside the cell's parameters.
_NOISE = "zoneout"


@dataclass(frozen=True)
class Zoneout(Wrapper):
    """Hyperparameters of `zoneout`, with the pure functions of a `Layer`."""

    layer: Recurrent
    rate: float
    cell_rate: float | None = None

    def __post_init__(self) -> None:
        check_rate("zoneout rate", self.rate)
        cell = self.layer.cell
        if self.cell_rate is not None:
            check_rate("zoneout cell_rate", self.cell_rate)
            if len(jax.tree.leaves(_abstract_carry(cell))) == 1:
                raise ValueError(f"{cell!r} has no cell state: leave cell_rate out")
        if not _puts_out_what_it_feeds(cell):
            raise ValueError(
                f"zoneout() takes a cell whose output is the state that it feeds back, such as "
                f"elman, gru and lstm; that of {cell!r} is not"
            )

    @property
    def noise(self) -> str | None:
        """What it draws, unless all rates are 0."""
        return f"zoneout({self.rate})" if self.rate or self.cell_rate else None

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The cell run over ``xs``, old and new values mixed after each step."""
        layer, params = self._mixing(params, xs, along)
        return layer.run(params, carry, xs, along, every=every)

    def _mixing(self, params: Params, xs: Array, along: Along) -> tuple[Recurrent, Params]:
        """The recurrence of the mixing cell; its parameters hold the noise of this call."""
        cell, rates = self.layer.cell, self._rates()
        mixing: Cell = _Steps(cell, rates)
        if isinstance(cell, PointwiseCell) and cell.form == "pointwise":
            mixing = _Pointwise(cell.hidden_size, cell, rates)
        if along.key is not None:
            leaves = jax.tree.leaves(_abstract_carry(cell))

            def draw(key: Array, rows: tuple[int, ...]) -> tuple[Array, ...]:
                each = zip(jax.random.split(key, len(leaves)), rates, leaves, strict=True)
                return tuple(
                    jax.random.bernoulli(k, rate, (*rows, *c.shape)) for k, rate, c in each
                )

            noise = every_step(draw, along, xs.shape[0], batch_shape_of(xs))
            params = {**params, _NOISE: noise}
        return dataclasses.replace(self.layer, cell=mixing), params

    def _rates(self) -> tuple[float, ...]:
        """The rate of each leaf of the carry."""
        cell = self.layer.cell
        leaves, tree = jax.tree.flatten(_abstract_carry(cell))
        fed = _fed(cell, jax.tree.unflatten(tree, range(len(leaves))))
        other = self.rate if self.cell_rate is None else self.cell_rate
        return tuple(self.rate if i == fed else other for i in range(len(leaves)))


def _abstract_carry(cell: Cell, batch_shape: tuple[int, ...] = ()) -> Carry:
    return jax.eval_shape(lambda: cell.initial_carry(batch_shape))


def _fed(cell: Cell, carry: Carry) -> Any:
    return cell.fed(carry) if isinstance(cell, PointwiseCell) else jax.tree.leaves(carry)[0]


def _puts_out_what_it_feeds(cell: Cell) -> bool:
    """Whether output and fed state are one and the same value, not only of one shape."""

    def probe(key: Array) -> tuple[Array, Array]:
        params = cell.init(key, 1)
        z = jax.tree.map(lambda z: z[0], cell.project(params, jnp.ones((1, 1))))
        carry, y = cell.step(params, cell.initial_carry((), params), z)
        return _fed(cell, carry), y

    return returns_one_value(probe, jax.random.key(0))


def _mix(factors: Any, old: Carry, new: Carry) -> Carry:
    """``keep · old + (1 - keep) · new``, a factor for each leaf of the carry."""
    factors, new = jax.tree.unflatten(jax.tree.structure(old), factors), named(new, old)
    return jax.tree.map(lambda keep, a, b: keep * a + (1 - keep) * b, factors, old, new)


@dataclass(frozen=True)
class _Pointwise(PointwiseCell):
    """A pointwise cell that mixes, itself pointwise: the noise is further gates at the end of z."""

    cell: PointwiseCell
    rates: tuple[float, ...]

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        return self.cell.initial_carry(batch_shape, params)

    def project(self, params: Params, xs: Array) -> Array:
        z = self.cell.project(params, xs)
        noise = (keep.astype(z.dtype) for keep in params.get(_NOISE, ()))
        return jnp.concatenate([z, *noise], axis=-1)

    def fed(self, carry: Carry) -> Array:
        return self.cell.fed(carry)

    def theta(self, params: Params) -> Params:
        return self.cell.theta(params)

    def pointwise(
        self, theta: Params, carry: Carry, z: tuple[Array, ...], r: tuple[Array, ...]
    ) -> tuple[Carry, Array]:
        gates = len(r)
        new, _ = self.cell.pointwise(theta, carry, z[:gates], r)
        mixed = _mix(lax.stop_gradient(z[gates:]) or self.rates, carry, new)
        return mixed, self.fed(mixed)


@dataclass(frozen=True)
class _Steps:
    """Any other cell that mixes, one step after the other."""

    cell: Cell
    rates: tuple[float, ...]

    @property
    def output_size(self) -> int:
        return self.cell.output_size

    def init(self, key: Array, input_size: int) -> Params:
        return self.cell.init(key, input_size)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        return self.cell.initial_carry(batch_shape, params)

    def project(self, params: Params, xs: Array) -> Any:
        return self.cell.project(params, xs), params.get(_NOISE)

    def step(self, params: Params, carry: Carry, z: Any) -> tuple[Carry, Array]:
        z, noise = z
        new, y = self.cell.step(params, carry, z)
        mixed = _mix(self.rates if noise is None else noise, carry, new)
        return mixed, _fed(self.cell, mixed).astype(y.dtype)


def zoneout(
    cell: Cell,
    rate: float,
    *,
    cell_rate: float | None = None,
    reverse: bool = False,
    backend: Backend = "auto",
) -> Zoneout:
    """The layer that runs a cell whose units randomly keep the value of the step before.

    ``c_t = k_t ⊙ c_{t-1} + (1 - k_t) ⊙ c'_t`` for every leaf of the carry, with ``c'_t`` the cell's
    own new carry, and ``y_t`` the leaf of ``c_t`` that is fed back. ``k_t`` is Bernoulli(rate),
    drawn for every step, row and unit from ``key`` and the absolute step; with ``key=None`` it is
    its expectation, the rate.

    Parameters and carry are the cell's.

    Args:
      cell: a `Cell` whose output is the state that it feeds back: `elman`, `gru`, `lstm`.
      rate: the probability that a unit of the fed state ``h`` keeps its value, in ``[0, 1)``.
      cell_rate: that of the other leaves, such as the LSTM's ``c``; None for the same.
      reverse: run from the last step to the first; outputs stay in place.
      backend: see `unroll`.

    Returns:
      A `Layer` of ``float[T, B, D]`` or ``int[T, B]`` to ``float[T, B, H]``.

    Raises:
      ValueError: a rate outside, ``cell_rate`` for a cell with one state, or a cell with another
        output.

    Example:
      >>> import jax, rnn_jax
      >>> layer = zoneout(rnn_jax.lstm(3), 0.05, cell_rate=0.5)
      >>> params = layer.init(jax.random.key(0), 2)
      >>> layer.apply(params, None, jax.numpy.ones((5, 4, 2)), key=jax.random.key(1))[1].shape
      (5, 4, 3)

    Reference:
      Krueger et al., Zoneout: regularizing RNNs by randomly preserving hidden activations, ICLR
      2017.
    """
    return Zoneout(recurrent(cell, reverse=reverse, backend=backend), rate, cell_rate)
