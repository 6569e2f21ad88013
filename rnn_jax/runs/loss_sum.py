"""The sum of an epoch's losses, the same wherever the calls that make it end.

Calls of `make_train_steps` end when the clock says so. A sum made anew in each would be rounded in
other places in every run; this one travels through all calls of an epoch beside the model's carry,
as a number and its rounding error so far, which together have twice the digits.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.training import TrainState
from rnn_jax.training.step import Metrics, TrainStep
from rnn_jax.types import Array, Batch, Carry

__all__ = ["begin_sum", "end_sum", "read_sum", "summing"]


class _Summed(NamedTuple):
    """In the place of a state's carry: that carry, and the sum ``nats + error``."""

    carry: Carry
    nats: Array
    error: Array


def summing(step: TrainStep, *, summed: bool) -> TrainStep:
    """The step for states between `begin_sum` and `end_sum`.

    Args:
      step: from `make_train_step`.
      summed: whether its loss is summed over a batch's tokens, and not their mean.
    """

    def summing_step(
        state: TrainState, batch: Batch, *, key: Array | None = None
    ) -> tuple[TrainState, Metrics]:
        carry, nats, error = state.carry
        state, metrics = step(state._replace(carry=carry), batch, key=key)
        loss = metrics["loss"].astype(nats.dtype)
        new = loss if summed else loss * metrics["tokens"].astype(nats.dtype)
        # Knuth's sum of two: what rounding takes from nats + new is known exactly.
        total = nats + new
        part = total - nats
        error += (nats - (total - part)) + (new - part)
        return state._replace(carry=_Summed(state.carry, total, error)), metrics

    return summing_step


def begin_sum(state: TrainState, nats: float) -> TrainState:
    """A state that sums losses, from what `read_sum` gave before."""
    dtype = jnp.promote_types(jax.tree.leaves(state.params)[0].dtype, jnp.float32)
    total = np.asarray(nats, dtype)
    error = np.asarray(nats - float(total), dtype)
    return state._replace(carry=_Summed(state.carry, jnp.asarray(total), jnp.asarray(error)))


def read_sum(state: TrainState) -> float:
    """The sum so far."""
    return float(state.carry.nats) + float(state.carry.error)


def end_sum(state: TrainState) -> TrainState:
    """The state without its sum."""
    return state._replace(carry=state.carry.carry)
