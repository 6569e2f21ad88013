"""A layer that reads forwards beside one that reads in reverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from rnn_jax.host.checks import check_members, check_parts, member
from rnn_jax.layers.base import BaseLayer, adapted, check_layer, initial_or, run
from rnn_jax.types import Along, Array, Carry, Layer, Params

__all__ = ["Bidirectional", "Merge", "bidirectional"]

Merge = Literal["concat", "sum"]


@dataclass(frozen=True)
class Bidirectional(BaseLayer):
    """Hyperparameters of `bidirectional`, with the pure functions of a `Layer`."""

    forward: Layer
    backward: Layer
    merge: Merge = "concat"

    @property
    def output_size(self) -> int:
        """``H_fwd + H_bwd``, or ``H`` for a sum."""
        forward, backward = self.forward.output_size or 0, self.backward.output_size or 0
        return forward if self.merge == "sum" else forward + backward

    @property
    def causal(self) -> bool:
        """False: the reversed half has read the steps to come."""
        return False

    def init(self, key: Array, input_size: int) -> Params:
        """``{"forward": …, "backward": …}``, the parameters of both halves."""
        forward, backward = jax.random.split(key)
        return {
            "forward": self.forward.init(forward, input_size),
            "backward": self.backward.init(backward, input_size),
        }

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The pair of both initial carries."""
        return tuple(
            half.initial_carry(batch_shape, None if params is None else member(self, params, name))
            for name, half in (("forward", self.forward), ("backward", self.backward))
        )

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """Both halves over ``xs``, and their outputs merged; the carry is a pair of theirs."""
        check_members(self, params, "forward", "backward")
        carry = initial_or(self, params, carry, xs)
        check_parts(self, carry, 2)
        first, second = carry
        forward, backward = self._halves(along)
        first, ahead = run(self.forward, params["forward"], first, xs, forward, every=every)
        second, back = run(self.backward, params["backward"], second, xs, backward, every=every)
        return (first, second), self._merged(ahead, back)

    def run_last(
        self, params: Params, carry: Carry, xs: Array, along: Along
    ) -> tuple[Carry, Array]:
        """The last outputs of both halves merged: the reversed one's is that of the first step."""
        check_members(self, params, "forward", "backward")
        carry = initial_or(self, params, carry, xs)
        check_parts(self, carry, 2)
        first, second = carry
        forward, backward = self._halves(along)
        first, ahead = adapted(self.forward).run_last(params["forward"], first, xs, forward)
        second, back = adapted(self.backward).run_last(params["backward"], second, xs, backward)
        return (first, second), self._merged(ahead, back)

    def _halves(self, along: Along) -> tuple[Along, Along]:
        keys = (None, None) if along.key is None else jax.random.split(along.key)
        return along._replace(key=keys[0]), along._replace(key=keys[1])

    def _merged(self, ahead: Array, back: Array) -> Array:
        return ahead + back if self.merge == "sum" else jnp.concatenate([ahead, back], axis=-1)


def bidirectional(fwd: Layer, bwd: Layer, *, merge: Merge = "concat") -> Bidirectional:
    """Two layers over the same inputs, one forwards and one in reverse, outputs merged.

    ``y_t = [fwd(x)_t, bwd(x)_t]``, or their sum. With a mask of right padding the second one
    begins at each row's last valid step.

    Parameters: ``{"forward": …, "backward": …}``; the carry is the pair of theirs.

    Args:
      fwd: a causal `Layer`, such as ``recurrent(lstm(100))``.
      bwd: one that runs in reverse, such as ``recurrent(lstm(100), reverse=True)``.
      merge: "concat" for ``float[T, B, H_fwd + H_bwd]``, "sum" for ``float[T, B, H]``.

    Returns:
      A `Layer` over ``float[T, B, D]`` or ``int[T, B]``; it is not causal.

    Raises:
      ValueError: something that is not a layer, halves that run the wrong way, a sum of unequal
        sizes, or an unknown ``merge``.

    Example:
      >>> import jax, rnn_jax
      >>> both = bidirectional(
      ...     rnn_jax.recurrent(rnn_jax.elman(3)), rnn_jax.recurrent(rnn_jax.gru(2), reverse=True)
      ... )
      >>> params = both.init(jax.random.key(0), 5)
      >>> both.apply(params, None, jax.numpy.ones((7, 4, 5)))[1].shape
      (7, 4, 5)

    Reference:
      Schuster and Paliwal, Bidirectional recurrent neural networks, IEEE Transactions on Signal
      Processing 45 (1997).
    """
    for layer in (fwd, bwd):
        check_layer("bidirectional", layer)
    if not fwd.causal or bwd.causal:
        raise ValueError(
            "bidirectional() takes a layer that runs forwards and one that runs in reverse: pass "
            "recurrent(cell) and recurrent(cell, reverse=True), in this order"
        )
    if merge not in get_args(Merge):
        raise ValueError(f"merge must be one of {get_args(Merge)}, not {merge!r}")
    sizes = fwd.output_size, bwd.output_size
    if None in sizes or (merge == "sum" and sizes[0] != sizes[1]):
        raise ValueError(
            f"bidirectional() cannot merge outputs of sizes {sizes} by {merge!r}: give both layers "
            "a size of their own, and for a sum the same"
        )
    return Bidirectional(fwd, bwd, merge)
