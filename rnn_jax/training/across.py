"""A step whose rows are spread over devices: each one's part of the loss, and the one sum of all.

Inside ``jax.shard_map``, over one axis of a mesh.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import fill_masked
from rnn_jax.jaxprs import sum_over, vary_over, varying_axes
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.training.checks import count_of
from rnn_jax.types import Array, Carry, Params, Share

__all__ = ["Across", "Found", "check_mean", "part_that_counts"]


class Found(NamedTuple):
    """What one device finds beside the loss of its rows.

    counts: the share of its outputs that the mean of the loss is over; None where that is all.
    """

    carry: Carry
    tokens: Array
    counts: Array | None


Objective = Callable[[Params], tuple[Array, Found]]


@dataclass(frozen=True)
class Across:
    """The devices of an axis, over which rows are spread.

    summed: whether the loss is a sum over outputs, and not their mean.
    counts_first: whether gradients are needed as those of the mean over all devices, because
      something is added to them on the way, and not as those of this device's sum. Takes a small
      all-reduce more.
    """

    axis: str
    summed: bool
    counts_first: bool

    def rows(self, size: int, *, by_row: bool) -> Array | Share:
        """Where this device's rows begin, for `Along`; for noise of the whole batch a `Share`."""
        try:
            first: Array = lax.axis_index(self.axis) * size
        except NameError:
            raise ValueError(
                f"a step with axis_name={self.axis!r} is one device's part: call it inside "
                "jax.shard_map over a mesh with that axis"
            ) from None
        return first if by_row else Share(first, size * lax.axis_size(self.axis))

    def value_and_grad(
        self, objective: Objective, params: Params
    ) -> tuple[tuple[Array, Found], Params]:
        """Loss, tokens and gradient of the rows of all devices, by one all-reduce.

        The gradients are summed in float32 at least.
        """
        # Of parameters that differ from device to device there is a gradient for each, which JAX
        # does not add up by itself: a plain scan would have it do so in every step.
        own = vary_over(frozenset({self.axis}), params)
        part = partial(self._part, objective)
        (value, found), grads = jax.value_and_grad(part, has_aux=True)(own)
        dtype = jnp.result_type(value, jnp.float32)
        every = jax.tree.map(lambda g: g.astype(jnp.promote_types(g.dtype, dtype)), grads)
        # Where all outputs count, their number is known, and there is nothing to add up.
        alike = not varying_axes(found.tokens)
        numbers = (value, None if alike else found.tokens, found.counts)
        numbers = jax.tree.map(lambda a: jnp.asarray(a).astype(dtype), numbers)
        numbers = vary_over(frozenset({self.axis}), numbers)
        sums, (value, tokens, counts) = sum_over(self.axis, (every, numbers))
        if counts is not None and not self.counts_first:
            value, sums = jax.tree.map(lambda a: a * _factor(counts).astype(a.dtype), (value, sums))
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), sums, params)
        tokens = found.tokens * lax.axis_size(self.axis) if alike else tokens
        return (value, found._replace(tokens=tokens.astype(found.tokens.dtype))), grads

    def value(self, objective: Objective, params: Params) -> Array:
        """The loss of the rows of all devices; its gradient is that of them all, too."""
        value, found = self._part(objective, params)
        value, counts = sum_over(self.axis, (value, found.counts))
        again = counts is not None and not self.counts_first
        return value * _factor(counts).astype(value.dtype) if again else value

    def _part(self, objective: Objective, params: Params) -> tuple[Array, Found]:
        """What the rows of this device add to the loss, but for the factor of what counts."""
        value, found = objective(params)
        if self.summed:
            return value, found._replace(counts=None)
        # Not the sum, whose gradient would be too large for a float16.
        size = lax.axis_size(self.axis)
        if found.counts is None:
            return value / size, found
        counts = found.counts.astype(value.dtype) / size
        # A loss of one's own may be NaN where nothing counts.
        value = jnp.where(counts > 0, value * counts, jnp.zeros_like(value))
        if self.counts_first:
            value = value * _factor(sum_over(self.axis, counts))
        return value, found._replace(counts=counts)


def check_mean(loss: Any, *, summed: bool) -> None:
    """Raise ValueError where a loss that is to be a mean is asked for its sum."""
    given = None
    while isinstance(loss, partial):
        given = loss.keywords.get("reduction") if given is None else given
        loss = loss.func
    if given == "sum" and not summed:
        raise ValueError(
            'the loss is a sum, by reduction="sum", and what several devices find would be put '
            "together as a mean: pass summed=True"
        )


def _factor(counts: Array) -> Array:
    return 1 / jnp.where(counts > 0, counts, jnp.ones_like(counts))


def part_that_counts(loss: Any, outputs: Array, targets: Array, mask: Array | None) -> Array | None:
    """The share of outputs ``[T, B, …]`` that the mean of a loss is over; None where that is all.

    Under class weights of `cross_entropy`, of weights.
    """
    weights = None
    while isinstance(loss, partial):
        if weights is None:
            weights = loss.keywords.get("class_weights")
        loss = loss.func
    size = max(1, math.prod(outputs.shape[:-1]))
    if loss is cross_entropy and weights is not None:
        weights = jnp.asarray(weights)
        chosen = weights[jnp.clip(fill_masked(targets, mask), 0, len(weights) - 1)]
        return fill_masked(chosen, mask).sum() / size
    if mask is None:
        return None
    return count_of(outputs, mask) / size
