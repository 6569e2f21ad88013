"""Long sequences in memory that grows with the root of their length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, overload

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import select
from rnn_jax.arrays.products import narrow_like, widened
from rnn_jax.host.checks import positive
from rnn_jax.jaxprs import scan, vary_over, varying_axes
from rnn_jax.layers.activation_penalty import penalised_part
from rnn_jax.layers.base import BaseLayer, adapted, check_layer, initial_or, inside, run
from rnn_jax.layers.wrapper import Wrapper
from rnn_jax.recurrence.gradient_scale import settled
from rnn_jax.recurrence.unroll import batch_shape_of
from rnn_jax.types import Along, Array, Carry, Layer, Model, Params, Steps

__all__ = ["Remat", "remat"]

_Part = tuple[Array, Steps]  # some steps in a row: inputs, and what travels beside them


@dataclass(frozen=True)
class Remat(Wrapper):
    """Hyperparameters of `remat`, with the pure functions of a `Layer`."""

    chunk: int | None = None

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The layer, one chunk after the other."""
        length = xs.shape[0]
        if not isinstance(length, int):  # exported for any T, which has no chunks
            return run(self.layer, params, carry, xs, along, every=every)
        chunk = self.chunk or _even_chunk(length)
        count, first = divmod(length, chunk)  # the piece that is read first is the odd one
        whole, wide = (xs, _settled(along.steps, self.reverse)), widened(params)

        def piece(carry: Carry, begin: Array | int, part: _Part) -> tuple[Carry, Any]:
            xs, (mask, scale, resets) = part
            if self.reverse and resets is not None:
                # `_settled` marks the steps before which to reset; the layer expects it a step on.
                initial = self.layer.initial_carry(batch_shape_of(xs), params)
                carry = select(resets[-1], initial, carry) if len(resets) else carry
                resets = jnp.concatenate([jnp.zeros_like(resets[:1]), resets[:-1]])
            here = along.over(Steps(mask, scale, resets), begin)
            new, ys = run(self.layer, narrow_like(wide, params), carry, xs, here, every=every)
            new = vary_over(axes, new)
            if not every:
                return new, ys
            last = jax.tree.map(lambda c, before: c[-1] if len(c) else before, new, carry)
            return last, (new, ys)

        # Recomputed in the backward pass; inside a scan there is no need to keep XLA from merging.
        again = jax.checkpoint(piece, prevent_cse=False)

        def cut(begin: int, end: int) -> _Part:
            return jax.tree.map(lambda leaf: leaf[begin:end], whole)

        odd, rest = (length - first, 0) if self.reverse else (0, first)
        axes = varying_axes(params, carry, xs, along)
        carry = vary_over(axes, initial_or(self.layer, params, carry, xs))
        one = None
        if first or not count:
            carry, one = piece(carry, along.start + odd, cut(odd, odd + first))
        if not count:
            return _results(every, carry, one)
        chunks = jax.tree.map(
            lambda leaf: leaf.reshape(count, chunk, *leaf.shape[1:]),
            cut(rest, rest + count * chunk),
        )
        begins = along.start + rest + chunk * jnp.arange(count)
        carry, others = scan(
            lambda carry, step: again(carry, *step), carry, (begins, chunks), reverse=self.reverse
        )

        flat = jax.tree.map(lambda leaf: leaf.reshape(count * chunk, *leaf.shape[2:]), others)
        if one is not None:
            pieces = (flat, one) if self.reverse else (one, flat)
            flat = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *pieces)
        return _results(every, carry, flat)


def _results(every: bool, last: Carry, outputs: Any) -> tuple[Carry, Array]:
    """``(carries, ys)``, which are then the outputs of the pieces, or ``(last, ys)``."""
    results: tuple[Carry, Array] = outputs if every else (last, outputs)
    return results


def _even_chunk(length: int) -> int:
    """About the root of ``length``, and a divisor of it if one is near: an odd piece costs copies.

    They are of all outputs and of their cotangents, and then most of the memory that is left.
    """
    root = math.isqrt(max(length - 1, 0)) + 1
    divisors = [n for n in range(max(1, root // 2), 2 * root) if length % n == 0]
    return min(divisors, key=lambda n: abs(n - root), default=root)


def _settled(steps: Steps, reverse: bool) -> Steps:
    """Factors and resets on the steps where they act, so that a cut behind one does not lose it."""
    mask, scale, resets = settled(steps, reverse=reverse)
    if scale is not None and resets is not None:
        # The gradient of what a reset puts in place is not scaled.
        scale = jnp.where(resets, jnp.ones_like(scale), scale)
    return Steps(mask, scale, resets)


@overload
def remat(layer: Layer, chunk: int | None = None) -> Layer: ...
@overload
def remat(layer: Model, chunk: int | None = None) -> Model: ...
def remat(layer: Any, chunk: int | None = None) -> Layer | Model:
    """The same layer in less memory: its backward pass recomputes the forward pass by chunks.

    The sequence is run in pieces of ``chunk`` steps; only the carries between them and the inputs
    are kept, and what a piece's backward pass needs, its input product included, is computed again
    when its turn comes. With pieces of √T steps, memory beside inputs and outputs grows with √T in
    place of T, for about a third more time. Values and gradients are the layer's.

    Parameters and carry are the layer's.

    Args:
      layer: a `Layer` that is causal, or one recurrence in reverse such as
        ``recurrent(cell, reverse=True)``; or a language model, whose recurrent part is meant.
      chunk: steps of a piece; None for about the root of ``T``. ``T`` need not be divisible by it,
        but where it is, memory is least.

    Returns:
      A `Layer` (or the model over it), as causal as the one given.

    Raises:
      ValueError: something that is not a layer, a layer that reads in both directions, a truncated
        one, one with an `activation_penalty`, or a chunk that is not a positive integer.

    Example:
      >>> import jax, rnn_jax
      >>> layer = remat(rnn_jax.recurrent(rnn_jax.lstm(3)))
      >>> params = layer.init(jax.random.key(0), 2)
      >>> layer.apply(params, None, jax.numpy.ones((1000, 4, 2)))[1].shape
      (1000, 4, 3)

    Reference:
      Chen et al., Training deep nets with sublinear memory cost, arXiv:1604.06174.
    """
    check_layer("remat", layer)
    base = adapted(layer)
    if chunk is not None:
        positive(chunk=chunk)
    if any(isinstance(part, BaseLayer) and part.counts_steps for part in inside(layer)):
        raise ValueError(
            "remat() cuts a sequence, and a truncation counts its steps from where it begins: "
            "write truncate(remat(layer), kind)"
        )
    penalty = penalised_part(layer)
    if penalty is not None:
        raise ValueError(
            f"remat() cuts a sequence, and {penalty!r} is of all its steps: put remat on the "
            "layers below it"
        )
    if base.recurrent_part is not None:
        over: Model = base.over(remat(base.recurrent_part, chunk))
        return over
    if not base.causal and not base.reverse:
        raise ValueError(f"{layer!r} reads in both directions: put remat on its parts")
    return Remat(layer, chunk)
