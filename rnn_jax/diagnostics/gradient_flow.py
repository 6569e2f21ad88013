"""How far back in time a loss sends its gradient, under any truncation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import check_mask
from rnn_jax.diagnostics.perturbed import Perturbed, rebuild
from rnn_jax.host.checks import not_negative
from rnn_jax.layers.activation_penalty import without_penalties
from rnn_jax.layers.base import check_layer
from rnn_jax.recurrence.unroll import batch_shape_of
from rnn_jax.types import Array, Carry, Layer, Model, Params

__all__ = ["GradientFlow", "gradient_flow"]

# How many backward passes run side by side: enough for large products, in bounded memory.
_SIDE_BY_SIDE = 16


class GradientFlow(NamedTuple):
    """Norms of ``∂L_t/∂c_{t-k}`` for ``K`` lags ``k``; made by `gradient_flow`.

    lags: ``int[K]``.
    mean: ``float[K]``, the mean of ``norms`` over all entries that are not NaN; NaN where there
      are none.
    norms: ``float[T, B, K]``, one for every loss and lag; NaN where step ``t`` or step ``t-k`` is
      masked or there is no step ``t-k``. What a truncation cuts off is exactly zero.
    """

    lags: Array
    mean: Array
    norms: Array


def gradient_flow(
    layer: Layer | Model,
    params: Params,
    carry: Carry,
    xs: Array,
    *,
    loss: Callable[[Array], Array] | None = None,
    lags: Sequence[int] | Array | None = None,
    mask: Array | None = None,
    key: Array | None = None,
) -> GradientFlow:
    """The norm of the gradient that the loss of step ``t`` sends to the state ``k`` steps earlier.

    ``norms[t, b, k] = ‖∂L_{t,b} / ∂c_{t-k,b}‖₂`` over all leaves of the carry ``c_{t-k}`` that step
    ``t-k`` hands to the next one. Lag 0 is ``‖∂L_{t,b} / ∂y_{t,b}‖₂``, where ``y`` is the output of
    the (topmost) recurrent part, at which the gradient starts; in a model these are not the logits.
    Lags count positions, masked ones included.

    The gradient is measured, not modelled: zeros are added to the carry after every step of the
    layer as it is, truncation included, and the losses are differentiated with respect to them.
    That takes ``T`` backward passes, a few of them side by side; rows do not mix, so one pass
    serves the whole batch.

    Args:
      layer: any causal `Layer` or `Model`, bare or with truncated parts.
      params: its parameters.
      carry: the carry before the first step, or None for the initial one.
      xs: ``float[T, B, D]`` or ``int[T, B]``.
      loss: maps outputs ``float[T, B, …]`` to losses ``float[T, B]``; by default ``Σ_j y_j / √H``,
        whose gradient at lag 0 has norm 1. A loss of step ``t`` may read other steps' outputs; it
        is still attributed to step ``t``.
      lags: which lags, each in ``0 … T-1``; None for all.
      mask: ``bool[T, B]``; masked steps have no loss and no state of their own.
      key: for noise and `randomized`; None means inference, in which `randomized` acts as `full`.

    Returns:
      A `GradientFlow`.

    Raises:
      ValueError: ``layer`` is not a layer, is not causal or has no carry; a lag is out of range; or
        the losses do not have the shape ``[T, B]``.

    Example:
      >>> import jax, rnn_jax
      >>> from rnn_jax.diagnostics import gradient_flow
      >>> layer = rnn_jax.truncate(rnn_jax.recurrent(rnn_jax.elman(3)), rnn_jax.sliding(2))
      >>> params = layer.init(jax.random.key(0), 4)
      >>> flow = gradient_flow(layer, params, None, jax.numpy.ones((6, 2, 4)))
      >>> (flow.mean > 0).tolist()
      [True, True, True, False, False, False]

    Reference:
      Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, ICML
      2013.
    """
    check_layer("gradient_flow", layer)
    if not layer.causal:
        raise ValueError(
            f"{layer!r} is not causal: gradient_flow() takes a layer that runs forwards in time"
        )
    length, batch_shape = xs.shape[0], batch_shape_of(xs)
    check_mask(mask, (length, *batch_shape))
    for lag in () if lags is None else lags:
        not_negative(lag=lag)
        if lag >= length:
            raise ValueError(
                f"a lag of {lag} does not fit into {length} steps: choose lags below {length}"
            )
    # Python integers: JAX's do not hash, so they cannot be static arguments.
    chosen = tuple(range(length) if lags is None else map(int, lags))
    loss = _mean_direction if loss is None else loss
    if carry is None:
        carry = layer.initial_carry(batch_shape, params)
    mean, norms = _flow(without_penalties(layer), loss, chosen, params, carry, xs, mask, key)
    return GradientFlow(jnp.array(chosen, int), mean, norms)


def _mean_direction(ys: Array) -> Array:
    return ys.sum(-1) / ys.shape[-1] ** 0.5


@partial(jax.jit, static_argnums=(0, 1, 2))
def _flow(
    layer: Layer | Model,
    loss: Callable[[Array], Array],
    lags: tuple[int, ...],
    params: Params,
    carry: Carry,
    xs: Array,
    mask: Array | None,
    key: Array | None,
) -> tuple[Array, Array]:
    shape = (xs.shape[0], *batch_shape_of(xs))
    if shape[0] == 0:
        return jnp.zeros(0), jnp.zeros((*shape, 0))
    valid = jnp.ones(shape, bool) if mask is None else mask

    def losses(perturbations: list[Carry], outputs: Array) -> Array:
        remaining = list(perturbations)

        def perturb(part: Layer) -> Layer:
            if not _has_carry(part):
                return part
            states = remaining.pop(0)
            return Perturbed(part, states, None if remaining else outputs)

        _, ys = rebuild(layer, perturb).apply(params, carry, xs, mask=mask, key=key)
        values = loss(ys)
        if values.shape != shape:
            raise ValueError(
                f"the losses have shape {values.shape}, but the steps and rows {shape}: return one "
                "loss for each step and row (in cross_entropy, reduction='none')"
            )
        return values

    values, backward = jax.vjp(losses, *_zeros(layer, shape))

    def norms_at(t: Array) -> tuple[Array, Array]:
        cotangent = jnp.zeros_like(values).at[t].set(valid[t].astype(values.dtype))
        carries, outputs = backward(cotangent)
        source = t - jnp.array(lags, int)
        steps = jnp.maximum(source, 0)
        by_lag = (-1,) + (1,) * (len(shape) - 1)
        norms = jnp.where(
            (source == t).reshape(by_lag),
            _norm(outputs, shape)[t][None],
            _norm(carries, shape)[steps],
        )
        pair = (source >= 0).reshape(by_lag) & valid[t][None] & valid[steps]
        return norms, pair

    norms, pairs = _map(norms_at, shape[0])
    rows = tuple(i for i in range(len(shape) + 1) if i != 1)
    mean = jnp.where(pairs, norms, 0).sum(rows) / pairs.sum(rows)
    return mean, jnp.moveaxis(jnp.where(pairs, norms, jnp.nan), 1, -1)


def _map(f: Callable[[Array], tuple[Array, Array]], length: int) -> tuple[Array, Array]:
    """``f`` of ``0 … length - 1``, up to `_SIDE_BY_SIDE` at a time, in groups of equal size.

    ``lax.map(batch_size=…)`` would compile a second copy of ``f`` for the last, smaller group.
    """
    groups = -(-length // _SIDE_BY_SIDE)
    together = -(-length // groups)
    steps = jnp.minimum(jnp.arange(groups * together), length - 1).reshape(groups, together)
    mapped = lax.map(jax.vmap(f), steps)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:length], mapped)


def _zeros(layer: Layer | Model, shape: tuple[int, ...]) -> tuple[list[Carry], Array]:
    """Zeros for every recurrent part's carry after every step, and for the last one's output."""
    parts: list[Layer] = []

    def collect(part: Layer) -> Layer:
        if _has_carry(part):
            parts.append(part)
        return part

    rebuild(layer, collect)
    if not parts:
        raise ValueError(
            f"{layer!r} has no carry, so no gradient flows through time: pass a recurrent layer"
        )
    size = parts[-1].output_size
    if size is None:
        raise ValueError(f"the output_size of {parts[-1]!r} is None: give it a number")
    carries = [
        jax.tree.map(lambda c: jnp.zeros((shape[0], *c.shape), c.dtype), _carry(part, shape[1:]))
        for part in parts
    ]
    return carries, jnp.zeros((*shape, size))


def _carry(part: Layer, batch_shape: tuple[int, ...]) -> Carry:
    return jax.eval_shape(lambda: part.initial_carry(batch_shape))


def _has_carry(part: Layer) -> bool:
    return bool(jax.tree.leaves(_carry(part, ())))


def _norm(tree: Carry, shape: tuple[int, ...]) -> Array:
    """``[T, B]``: the norm over all other axes of all leaves."""
    features = [leaf.reshape(*shape, -1) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(sum((jnp.abs(leaf) ** 2).sum(-1) for leaf in features))
