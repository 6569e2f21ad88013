"""Truncated backpropagation through time, every kind of it, by ``stop_gradient`` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, overload

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import expand, last_valid, select
from rnn_jax.cells.base import BaseCell
from rnn_jax.jaxprs import reverse_mode_only
from rnn_jax.layers.activation_penalty import penalised_part
from rnn_jax.layers.base import BaseLayer, adapted, check_layer, initial_or, inside, run
from rnn_jax.layers.recurrent import Recurrent
from rnn_jax.recurrence.gradient_scale import settled
from rnn_jax.recurrence.unroll import SLIDING_REVERSE_ONLY, batch_shape_of
from rnn_jax.truncation.kinds import Sliding, Tail, Truncation, check_kind
from rnn_jax.truncation.lagged import lagged
from rnn_jax.types import Along, Array, Carry, Cell, Layer, Model, Params

__all__ = ["Truncated", "truncate"]


@dataclass(frozen=True)
class Truncated(BaseLayer):
    """A layer or model with truncated gradients; made by `truncate`."""

    layer: Layer | Model
    kind: Truncation
    reference: bool = False
    # Windows are counted from the first step of a call.
    counts_steps: ClassVar[bool] = True

    @property
    def output_size(self) -> int | None:
        """That of the layer."""
        return adapted(self.layer).output_size

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """That of the layer."""
        return adapted(self.layer).input_table

    @property
    def noise(self) -> str | None:
        """What its kind draws."""
        return self.kind.noise

    @property
    def encode(self) -> Any:
        """That of an encoder-decoder; no other model has one."""
        return self.layer.encode  # type: ignore[union-attr]

    def init(self, key: Array, *input_size: int) -> Params:
        """The layer's parameters."""
        return self.layer.init(key, *input_size)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The layer's initial carry."""
        return self.layer.initial_carry(batch_shape, params)

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The layer's values; gradients as `truncate` says."""
        sliding = self._windowed(xs)
        if sliding is not None:
            carry = initial_or(self.layer, params, carry, xs)
            # What cuts a sequence must not lose what a masked step hands on to the next valid one.
            along = along.over(settled(along.steps, reverse=False), along.start)
            forms = _windows if self.reference else _lagged
            carries, ys = forms(self.layer, sliding, params, carry, xs, along)
            return (carries if every else _final(carries, carry, along.mask)), ys
        shape = (xs.shape[0], *batch_shape_of(xs))
        scale, outer = self.kind.gradient_scale(shape, along), along.gradient_scale
        live = self.kind.live_outputs(shape, along)
        if scale is not None:
            along = along._replace(gradient_scale=scale if outer is None else scale * outer)
        carry, ys = run(self.layer, params, carry, xs, along, every=every)
        if every:
            carry = jax.tree.map(lambda c: _detach_dead(c, live), carry)
        return carry, _detach_dead(ys, live)

    def _windowed(self, xs: Array) -> Sliding | None:
        """The truncation, if windows of these inputs are shorter than they are."""
        if not isinstance(self.kind, Sliding):
            return None
        if not isinstance(xs.shape[0], int):
            raise ValueError("sliding() must know T: export the layer without truncate()")
        return self.kind if xs.shape[0] > self.kind.steps + 1 else None


def _detach_dead(ys: Array, live: Array | None) -> Array:
    return ys if live is None else jnp.where(expand(live, ys), ys, lax.stop_gradient(ys))


def _lagged(
    layer: Layer | Model, kind: Sliding, params: Params, carry: Carry, xs: Array, along: Along
) -> tuple[Carry, Array]:
    """As `_windows`, with the same gradients at the price of one backward pass."""
    if isinstance(layer, Recurrent) and layer.can_slide(carry, xs):
        return layer.run_sliding(kind.steps, params, carry, xs, along)
    positions = along.start + jnp.arange(xs.shape[0])

    def forward(read: Any, carry: Carry, xs: Any) -> tuple[Carry, Array]:
        params, along = read
        xs, steps, positions = xs
        return run(layer, params, carry, xs, along.over(steps, positions[0]), every=True)

    def step(read: Any, carry: Carry, x: Any) -> tuple[Carry, Array]:
        params, along = read
        x, steps, position = x
        # No value depends on a factor on a gradient, which therefore has none itself.
        x, steps = jax.tree.map(lambda leaf: leaf[None], (x, lax.stop_gradient(steps)))
        carry, y = run(layer, params, carry, x, along.over(steps, position), every=False)
        return carry, y[0]

    def one_more_axis(read: Any, carries: Carry, xs: Any) -> tuple[Carry, Array]:
        (params, _), (xs, steps, _) = read, xs
        xs, steps = jax.tree.map(lambda leaf: leaf[None], (xs, lax.stop_gradient(steps)))
        carries, ys = run(layer, params, carries, xs, Along().over(steps, 0), every=False)
        return carries, ys[0]

    read = params, Along(key=along.key, rows=along.rows)
    # With time as one more axis of the batch, weights have one gradient, and not one for each step.
    same_for_all = along.key is None and all(map(_takes_any_batch, inside(layer)))
    at_once = one_more_axis if same_for_all else jax.vmap(step, (None, 0, 0))
    with reverse_mode_only(SLIDING_REVERSE_ONLY):
        return lagged(forward, at_once, kind.steps, read, carry, (xs, along.steps, positions))


def _takes_any_batch(part: Any) -> bool:
    """False for a layer or cell of somebody else's class, which may know one batch axis only."""
    if isinstance(part, BaseLayer):
        return not part.own_apply
    return isinstance(part, BaseCell) or not isinstance(part, Layer | Model | Cell)


def _windows(
    layer: Layer | Model, kind: Sliding, params: Params, carry: Carry, xs: Array, along: Along
) -> tuple[Carry, Array]:
    """The last carry and output of every step's window, ``[T, B, …]``.

    Step t's window is recomputed from the detached carry before it; the first windows begin at
    step 0, with the carry that was handed in, and are padded in front by masked steps.
    """
    length, k = xs.shape[0], kind.steps
    shape = (length, *batch_shape_of(xs))
    valid = jnp.ones(shape, bool) if along.mask is None else along.mask
    detached = lax.stop_gradient((params, carry))
    before, _ = run(layer, *detached, xs, along, every=True)

    def first_carries(handed_in: Array, after: Array) -> Array:
        early = jnp.broadcast_to(handed_in, (k + 1, *handed_in.shape))
        return jnp.concatenate([early, lax.stop_gradient(after[: length - k - 1])])

    def shifted(array: Array, fill: int = 0) -> Array:
        """``[k+1, T, …]``: row i holds the array's entry of step t-k+i, ``fill`` before step 0."""
        padded = jnp.concatenate([jnp.full((k, *array.shape[1:]), fill, array.dtype), array])
        return jnp.stack([padded[i : i + length] for i in range(k + 1)])

    def window(carry: Carry, xs: Array, along: Along) -> tuple[Carry, Array]:
        carry, ys = run(layer, params, carry, xs, along, every=False)
        return carry, ys[-1]

    scale, resets = along.gradient_scale, along.resets
    windows = along._replace(
        mask=shifted(valid),
        # A factor on the padding in front would be held back to step 0, and would reach the
        # handed-in carry.
        gradient_scale=None if scale is None else shifted(scale, fill=1),
        start=along.start + jnp.arange(length) - k,
        resets=None if resets is None else shifted(resets),
    )
    # The key and the rows are the same for every window.
    axes: Any = Along(
        mask=1,  # type: ignore[arg-type]
        gradient_scale=1,  # type: ignore[arg-type]
        start=0,
        resets=1,  # type: ignore[arg-type]
    )
    carries = jax.tree.map(first_carries, carry, before)
    result: tuple[Carry, Array] = jax.vmap(window, (0, 1, axes))(carries, shifted(xs), windows)
    return result


def _final(carries: Carry, handed_in: Carry, mask: Array | None) -> Carry:
    """Each row's carry after its last valid step: later windows hold it, but detached."""
    if mask is None:
        return jax.tree.map(lambda c: c[-1], carries)
    last = last_valid(mask)

    def at_last(c: Array) -> Array:
        index = expand(jnp.maximum(last, 0), c[0])[None]
        return jnp.take_along_axis(c, index, axis=0)[0]

    return select(last >= 0, jax.tree.map(at_last, carries), handed_in)


@overload
def truncate(layer: Layer, kind: Truncation, *, reference: bool = False) -> Layer: ...
@overload
def truncate(layer: Model, kind: Truncation, *, reference: bool = False) -> Model: ...
def truncate(layer: Layer | Model, kind: Truncation, *, reference: bool = False) -> Layer | Model:
    """The same layer or model with truncated gradients: no value changes, whatever the kind.

    `chunked`, `tail` and `randomized` multiply the carry's gradient by ``g_t`` before step ``t``,
    ``c ↦ sg(c) + g_t (c - sg(c))``; `sliding` has a window for every step. The carry that
    is handed in is never detached by itself: a truncation that reaches the first step lets the
    gradient through to it.

    Args:
      layer: any causal `Layer`, or a `Model`.
      kind: `full`, `chunked`, `sliding`, `tail` or `randomized`.
      reference: for `sliding`, whether every window is run, forwards and backwards, in place of the
        lagged pull-backs of `rnn_jax.truncation.lagged`: the definition that those are held to, and
        what derivatives of second order need. It takes several times as long.

    Returns:
      A layer with the same parameters and carry. For a model all kinds but `tail` only concern
      its recurrent part, and the result is the model over that part truncated; `tail` wraps the
      whole model, because it cuts off the read-out of early steps as well.

    Raises:
      ValueError: the layer is not causal, is truncated already, or has an `activation_penalty` that
        `sliding` would take apart; or ``kind`` is not a truncation.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> layer = rnn_jax.recurrent(rnn_jax.elman(3))
      >>> params = layer.init(jax.random.key(0), 10)
      >>> ids = jnp.array([1, 2, 3, 4, 5])
      >>> def loss(params, layer):
      ...     return layer.apply(params, None, ids)[1].sum()
      >>> whole = jax.grad(loss)(params, layer)["w_hh"]
      >>> short = jax.grad(loss)(params, rnn_jax.truncate(layer, rnn_jax.chunked(2)))["w_hh"]
      >>> bool(jnp.allclose(whole, short))
      False
      >>> long = jax.grad(loss)(params, rnn_jax.truncate(layer, rnn_jax.chunked(5)))["w_hh"]
      >>> bool(jnp.allclose(whole, long))
      True
    """
    check_kind(kind)
    check_layer("truncate", layer, or_model=True)
    if any(isinstance(part, Truncated) for part in inside(layer)):
        # Windows of windows have no clear meaning.
        raise ValueError(f"{layer!r} is truncated already: truncate the bare layer instead")
    penalty = penalised_part(layer) if isinstance(kind, Sliding) else None
    if penalty is not None:
        raise ValueError(
            f"sliding() takes a sequence apart, and {penalty!r} is of all its steps: truncate the "
            "layers below it"
        )
    if not layer.causal:
        raise ValueError(
            f"{layer!r} is not causal: only a layer that runs forwards can be truncated"
        )
    base = adapted(layer)
    if base.recurrent_part is not None and not isinstance(kind, Tail):
        over: Model = base.over(truncate(base.recurrent_part, kind, reference=reference))
        return over
    return Truncated(layer, kind, reference)
