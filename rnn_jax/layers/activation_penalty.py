"""Penalties on activations, by their gradient alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import check_mask, expand, fill_masked
from rnn_jax.arrays.tokens import is_ids
from rnn_jax.jaxprs import sum_over
from rnn_jax.layers.base import BaseLayer, inside
from rnn_jax.types import Along, Array, Carry, Params, state_dtype

__all__ = [
    "ActivationPenalty",
    "activation_penalty",
    "penalised_part",
    "penalties_over",
    "without_penalties",
]


@dataclass(frozen=True)
class ActivationPenalty(BaseLayer):
    """Hyperparameters of `activation_penalty`, with the pure functions of a `Layer`."""

    ar: float = 0.0
    tar: float = 0.0
    axis_name: str | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("ar", "tar"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a finite number of at least 0, not {value!r}")

    def init(self, key: Array, input_size: int) -> Params:
        """No parameters: an empty dict."""
        return {}

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """``xs``, with the penalty's gradient on the way back."""
        if is_ids(xs):
            raise ValueError(
                f"activation_penalty() is for features, not token ids ({xs.dtype}): put it above "
                "the first layer"
            )
        check_mask(along.mask, xs.shape[:-1])
        xs = fill_masked(xs, along.mask)
        if not self.ar and not self.tar:
            return (), xs
        return (), _penalised(self, xs, along.mask, along.resets)

    def penalty(self, xs: Array, mask: Array | None = None, resets: Array | None = None) -> Array:
        """The penalty itself, a scalar, of the outputs ``float[T, B, H]`` of the layer below."""
        hs = fill_masked(xs.astype(state_dtype(xs.dtype)), mask)
        valid = jnp.ones(xs.shape[:-1], bool) if mask is None else mask
        pairs = valid[1:] & valid[:-1]
        if resets is not None:
            pairs = pairs & ~resets[1:]
        changes = (hs[1:] - hs[:-1]) ** 2
        mean = partial(_mean, axis_name=self.axis_name)
        return self.ar * mean(hs**2, valid) + self.tar * mean(changes, pairs)


def _mean(values: Array, valid: Array, axis_name: str | None) -> Array:
    """Over features and valid steps, 0 where there are none; of all devices together this one's."""
    steps = valid.sum()
    if axis_name is not None:
        steps = sum_over(axis_name, steps)
    count = jnp.maximum(steps * values.shape[-1], 1).astype(values.dtype)
    return jnp.where(expand(valid, values), values, 0).sum() / count


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _penalised(
    layer: ActivationPenalty, xs: Array, mask: Array | None, resets: Array | None
) -> Array:
    return xs


def _forward(
    layer: ActivationPenalty, xs: Array, mask: Array | None, resets: Array | None
) -> tuple[Array, Any]:
    return xs, (xs, mask, resets)


def _backward(layer: ActivationPenalty, kept: Any, cotangent: Array) -> tuple[Array, None, None]:
    gradient = jax.grad(layer.penalty)(*kept)
    return cotangent + gradient.astype(cotangent.dtype), None, None


_penalised.defvjp(_forward, _backward)


def activation_penalty(
    ar: float = 0.0, tar: float = 0.0, *, axis_name: str | None = None
) -> ActivationPenalty:
    """The layer that penalises large activations (AR), and changes from step to step (TAR).

    Its output is its input ``h``. In the backward pass it adds to the gradient that comes from the
    loss the exact one of

        P = ar · mean_{t,b,j} h[t,b,j]² + tar · mean_{t,b,j} (h[t,b,j] - h[t-1,b,j])²

    so that what is minimised is a loss that is a mean, such as `cross_entropy`, plus ``P``; beside
    a summed loss give ``ar`` and ``tar`` times the number of steps. The value of the loss, and
    with it what a training reports, is without ``P``: ``layer.penalty(h)`` computes it.

    The means are over the features and the valid steps of one call. A pair of steps counts where
    both are valid and the second is no reset; the first step of a call has no step before it, as
    in the paper's program. The penalty acts wherever there is a gradient, with a key or
    without, on every valid step, whatever a truncation behind it lets through. Diagnostics measure
    the network without it.

    Because the penalty is of a whole call, it stands outside of what runs a sequence in pieces:
    `remat`, and a layer under `sliding`. Inside ``jax.shard_map`` a call is of one device's rows:
    average the devices' gradients there, and not their losses; with an ``axis_name`` the means are
    over all rows, and what a device computes is its part, to be added up over that axis. There are
    no forward-mode derivatives.

    In the AWD-LSTM, AR is of the last layer's outputs after their dropout, TAR of those before:

        serial(
            …,
            recurrent(lstm(400)),
            activation_penalty(tar=1.0),
            dropout(0.4, variational=True),
            activation_penalty(ar=2.0),
        )

    Args:
      ar: the coefficient of the mean square, at least 0.
      tar: that of the mean squared difference, at least 0.
      axis_name: that of the mesh over which rows are spread; `make_train_step` sets it.

    Raises:
      ValueError: a coefficient that is negative or not finite. By the layer: its input is token
        ids. By `remat` and `truncate`: it stands inside.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer, h = activation_penalty(ar=3.0), jnp.array([[[1.0, 2.0, 4.0]]])  # [T, B, H]
      >>> jax.grad(lambda h: 0 * layer.apply({}, (), h)[1].sum())(h)  # 2 · 3 · h / 3
      Array([[[2., 4., 8.]]], dtype=float32)

    Reference:
      Merity, McCann and Socher, Revisiting activation regularization for language RNNs,
      arXiv:1708.01009; Merity, Keskar and Socher, Regularizing and optimizing LSTM language
      models, arXiv:1708.02182.
    """
    return ActivationPenalty(ar, tar, axis_name)


def penalised_part(layer: Any) -> ActivationPenalty | None:
    """A penalty that is not 0 inside of a layer; None if there is none."""
    parts = (part for part in inside(layer) if isinstance(part, ActivationPenalty))
    return next((part for part in parts if part.ar or part.tar), None)


def without_penalties(layer: Any) -> Any:
    """The same layer or model with every penalty 0: what is differentiated is the network alone.

    Example:
      >>> without_penalties((activation_penalty(2.0), 3))
      (ActivationPenalty(ar=0.0, tar=0.0), 3)
    """
    return _with_penalties(layer, lambda penalty: ActivationPenalty())


def penalties_over(layer: Any, axis_name: str) -> Any:
    """The same layer or model, with every penalty that of all rows that are spread over an axis."""
    return _with_penalties(layer, partial(dataclasses.replace, axis_name=axis_name))


def _with_penalties(layer: Any, changed: Callable[[ActivationPenalty], ActivationPenalty]) -> Any:
    if isinstance(layer, ActivationPenalty):
        return changed(layer)
    if not penalised_part(layer):
        return layer
    if isinstance(layer, tuple):
        return tuple(_with_penalties(part, changed) for part in layer)
    fields = [field.name for field in dataclasses.fields(layer)]
    parts = {name: _with_penalties(getattr(layer, name), changed) for name in fields}
    return dataclasses.replace(layer, **parts)
