"""Blocks of training steps, each one compiled call, which add up the same wherever they end.

A block ends when the clock says so. A sum of losses made anew in each would be rounded in other
places in every run; this one travels through all of them, as a number and its rounding error so
far, which together have twice the digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnn_jax.training.batches import Batches
from rnn_jax.training.devices import EVERYWHERE, ROWS, Devices
from rnn_jax.training.step import TrainState, TrainStep
from rnn_jax.types import Array, Batch

__all__ = ["Block", "Running", "Seen", "jitted_block", "make_block", "running"]


class Running(NamedTuple):
    """What goes from block to block, given away to each.

    nats, error: the sum of losses is ``nats + error``.
    in_a_row: the latest steps that were skipped, one after the other.
    """

    state: TrainState
    nats: Array
    error: Array
    in_a_row: Array


class Seen(NamedTuple):
    """What one block did: the batch it came to, tokens that counted, steps that did not."""

    batch: Array
    tokens: Array
    skipped: Array


Block = Callable[[Running, Batches, int, int, Array | None], tuple[Running, Seen]]


def running(state: TrainState, nats: float = 0.0, in_a_row: int = 0) -> Running:
    """A state to go on from, with the sum of losses so far."""
    dtype = jnp.promote_types(jax.tree.leaves(state.params)[0].dtype, jnp.float32)
    total = np.asarray(nats, dtype)
    error = np.asarray(nats - float(total), dtype)
    return Running(state, *map(jnp.asarray, (total, error, np.int32(in_a_row))))


def make_block(
    train_step: TrainStep, *, summed: bool, limit: int, devices: Devices | None = None
) -> Block:
    """The `jitted_block` of plain numbers, whose arguments may come from anywhere.

    Args:
      train_step: from `make_train_step` with ``skip_nonfinite``.
      summed: whether its loss is summed over a batch's tokens, and not their mean.
      limit: the block ends early after so many skipped steps one after the other.
      devices: to spread the rows over; where there are several, the step is one over their axis.
    """

    block = jitted_block(train_step, summed=summed, limit=limit, devices=devices)

    def call(
        run: Running, data: Batches, begin: int, end: int, key: Array | None
    ) -> tuple[Running, Seen]:
        bounds = jax.device_put((np.int32(begin), np.int32(end)))
        if devices is not None:
            # What came of rules, or begins an epoch, may be elsewhere, and would compile anew.
            run = Running(devices.state(run.state), *map(devices.everywhere, run[1:]))
            bounds, key = devices.everywhere((bounds, key))
        new: tuple[Running, Seen] = block(run, data, *bounds, key)
        return new

    return call


def jitted_block(
    train_step: TrainStep, *, summed: bool, limit: int, devices: Devices | None
) -> Any:
    """Steps ``begin … end-1`` of a data set as one compiled call with its state donated."""

    def steps(
        run: Running, data: Batches, begin: Array, end: Array, key: Array | None
    ) -> tuple[Running, Seen]:
        def consume(loop: tuple[Running, Seen], batch: Batch) -> tuple[Running, Seen]:
            (state, nats, error, in_a_row), seen = loop
            step_key = None if key is None else jax.random.fold_in(key, state.step)
            state, metrics = train_step(state, batch, key=step_key)
            skipped, tokens = metrics["skipped"], metrics["tokens"]
            loss = metrics["loss"].astype(nats.dtype)
            new = jnp.where(skipped, 0, loss if summed else loss * tokens.astype(nats.dtype))
            # Knuth's sum of two: what rounding takes from nats + new is known exactly.
            total = nats + new
            part = total - nats
            error += (nats - (total - part)) + (new - part)
            run = Running(state, total, error, jnp.where(skipped, in_a_row + 1, 0))
            counted = jnp.where(skipped, 0, tokens)
            return run, Seen(seen.batch + 1, seen.tokens + counted, seen.skipped + skipped)

        def body(loop: tuple[Running, Seen]) -> tuple[Running, Seen]:
            return data.visit(loop[1].batch, consume, loop)

        def more(loop: tuple[Running, Seen]) -> Array:
            return (loop[1].batch < end) & (loop[0].in_a_row < limit)

        zero = jnp.zeros((), jnp.int32)
        return lax.while_loop(more, body, (run, Seen(begin, zero.astype(int), zero)))

    if devices is not None and devices.count > 1:
        by_rows: Any = Running(
            TrainState(EVERYWHERE, EVERYWHERE, ROWS, EVERYWHERE), *(EVERYWHERE,) * 3
        )
        steps = devices.mapped(steps, by_rows, (by_rows, EVERYWHERE))
    return jax.jit(steps, donate_argnums=0)
