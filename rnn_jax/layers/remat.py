"""Long sequences in memory that grows with the root of their length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import select
from rnn_jax.host.checks import positive
from rnn_jax.layers.carries import all_carries, initial_or
from rnn_jax.layers.wrapper import Wrapper, check_layer, inside
from rnn_jax.recurrence.gradient_scale import settled
from rnn_jax.recurrence.unroll import batch_shape_of
from rnn_jax.types import Along, Array, Carry, Params

__all__ = ["Remat", "remat"]


class _Part(NamedTuple):
    """Some steps in a row, with all that travels along them."""

    xs: Array
    mask: Array | None
    gate: Array | None
    resets: Array | None


@dataclass(frozen=True)
class Remat(Wrapper):
    """Hyperparameters of `remat`, with the pure functions of a `Layer`."""

    chunk: int | None = None

    def apply(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        mask: Array | None = None,
        key: Array | None = None,
        **along: Unpack[Along],
    ) -> tuple[Carry, Array]:
        """The layer, one chunk after the other."""
        return self._run(self.layer.apply, params, carry, xs, mask, key, along)

    def carries(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        mask: Array | None = None,
        key: Array | None = None,
        **along: Unpack[Along],
    ) -> tuple[Carry, Array]:
        """As ``apply``, with the carry after every step; see `all_carries`."""

        def apply(params: Params, carry: Carry, xs: Array, **options: Any) -> Any:
            carries, ys = all_carries(self.layer, params, carry, xs, **options)
            last = jax.tree.map(lambda c, before: c[-1] if len(c) else before, carries, carry)
            return last, (carries, ys)

        return self._run(apply, params, carry, xs, mask, key, along)[1]

    def _run(
        self,
        apply: Any,
        params: Params,
        carry: Carry,
        xs: Array,
        mask: Array | None,
        key: Array | None,
        along: Along,
    ) -> tuple[Carry, Any]:
        length, start = xs.shape[0], along.get("start", 0)
        if not isinstance(length, int):  # exported for any T, which has no chunks
            return apply(params, carry, xs, mask=mask, key=key, **along)
        chunk = self.chunk or _even_chunk(length)
        count, first = divmod(length, chunk)  # the piece that is read first is the odd one
        whole = _settled(_Part(xs, mask, along.get("gate"), along.get("resets")), self.reverse)

        def piece(carry: Carry, begin: Array | int, part: _Part) -> tuple[Carry, Any]:
            resets = part.resets
            if self.reverse and resets is not None:
                # `_settled` marks the steps before which to reset; the layer expects it a step on.
                initial = self.layer.initial_carry(batch_shape_of(xs), params)
                carry = select(resets[-1], initial, carry) if len(resets) else carry
                resets = jnp.concatenate([jnp.zeros_like(resets[:1]), resets[:-1]])
            options: Along = {"start": begin, "gate": part.gate, "resets": resets}
            return apply(params, carry, part.xs, mask=part.mask, key=key, **options)

        # Recomputed in the backward pass; inside a scan there is no need to keep XLA from merging.
        again = jax.checkpoint(piece, prevent_cse=False)

        def cut(begin: int, end: int) -> _Part:
            return jax.tree.map(lambda leaf: leaf[begin:end], whole)

        odd, rest = (length - first, 0) if self.reverse else (0, first)
        carry = initial_or(carry, self.layer, params, xs)
        one = None
        if first or not count:
            carry, one = piece(carry, start + odd, cut(odd, odd + first))
        if not count:
            return carry, one
        chunks = jax.tree.map(
            lambda leaf: leaf.reshape(count, chunk, *leaf.shape[1:]),
            cut(rest, rest + count * chunk),
        )
        begins = start + rest + chunk * jnp.arange(count)
        carry, others = lax.scan(
            lambda carry, step: again(carry, *step), carry, (begins, chunks), reverse=self.reverse
        )

        flat = jax.tree.map(lambda leaf: leaf.reshape(count * chunk, *leaf.shape[2:]), others)
        if one is None:
            return carry, flat
        pieces = (flat, one) if self.reverse else (one, flat)
        return carry, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *pieces)


def _even_chunk(length: int) -> int:
    """About the root of ``length``, and a divisor of it if one is near: an odd piece costs copies.

    They are of all outputs and of their cotangents, and then most of the memory that is left.
    """
    root = math.isqrt(max(length - 1, 0)) + 1
    divisors = [n for n in range(max(1, root // 2), 2 * root) if length % n == 0]
    return min(divisors, key=lambda n: abs(n - root), default=root)


def _settled(part: _Part, reverse: bool) -> _Part:
    """Gates and resets on the steps where they act, so that a cut behind one does not lose it."""
    xs, mask, gate, resets = part
    gate, resets = settled(gate, resets, mask, reverse=reverse)
    if gate is not None and resets is not None:
        # What a reset puts in place is not gated.
        gate = jnp.where(resets, jnp.ones_like(gate), gate)
    return _Part(xs, mask, gate, resets)


def remat(layer: Any, chunk: int | None = None) -> Any:
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
        one, or a chunk that is not a positive integer.

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
    if chunk is not None:
        positive(chunk=chunk)
    if any(getattr(part, "counts_steps", False) for part in inside(layer)):
        raise ValueError(
            "remat() cuts a sequence, and a truncation counts its steps from where it begins: "
            "write truncate(remat(layer), kind)"
        )
    if hasattr(layer, "over"):
        return layer.over(remat(layer.layer, chunk))
    if not layer.causal and not getattr(layer, "reverse", False):
        raise ValueError(f"{layer!r} reads in both directions: put remat on its parts")
    return Remat(layer, chunk)
