"""The loss on the validation data while a model trains."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from rnn_jax.jaxprs import sum_over, vary_over
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.training.batches import Batches
from rnn_jax.training.devices import AXIS, EVERYWHERE, ROWS, Devices
from rnn_jax.training.fed import Fed
from rnn_jax.training.feeding import Feeder
from rnn_jax.training.loop import (
    Part,
    SummableLoss,
    Totals,
    added_up,
    summing,
    takes_reduction,
)
from rnn_jax.training.objective import unwrapped
from rnn_jax.training.processes import here
from rnn_jax.training.step import Loss
from rnn_jax.types import Array, Carry, Model, Params

__all__ = ["Validation", "cached", "evaluation", "is_cross_entropy", "is_of_classes"]

Validation = Batches | Fed | Callable[[Params], float | Array]


def cached(function: Any, *args: Any, **options: Any) -> Any:
    """A cached function; where something cannot be hashed, such as a loss, called anew."""
    try:
        hash((args, *options.values()))
    except TypeError:
        function = function.__wrapped__
    return function(*args, **options)


def _measured(validation: Callable[[Params], float | Array], params: Params) -> float:
    """A loss that the caller defines."""
    value = validation(here(params))
    if np.ndim(value):
        raise ValueError(
            "the function validation= must return one number, the loss that is to become low, not "
            f"something of shape {np.shape(value)}"
        )
    return float(value)


def evaluation(
    model: Model,
    validation: Validation | None,
    validation_loss: SummableLoss | None,
    loss: Loss,
    stateful: bool,
    devices: Devices | None,
    feeder: Feeder,
) -> Callable[[Params], float] | None:
    """The mean loss of parameters on the validation data of `fit`; None where there are none."""
    if validation is None:
        return None
    if callable(validation):
        return partial(_measured, validation)
    if validation_loss is None:
        summable: Any = loss
        validation_loss = summable if takes_reduction(loss) else cross_entropy
    totals = cached(_totals, model, devices, loss=validation_loss)
    placed = validation
    if devices is not None and not isinstance(validation, Fed):
        placed = devices.batches(validation)

    def evaluate(params: Params) -> float:
        carry = model.initial_carry((placed.batch_size,), params) if stateful else None
        try:
            nats, tokens = totals(params, placed, carry, feeder)
        finally:
            feeder.forget()
        if not int(tokens):
            raise ValueError("the validation data hold no target that is not masked: pass some")
        return float(nats) / int(tokens)

    return evaluate


def _new_totals(model: Model, devices: Devices | None, *, loss: SummableLoss) -> Any:
    """As `make_evaluate`; on several devices each adds up the loss of its rows."""
    alone = summing(model, loss)

    def mine(beside: tuple[Params, Carry], data: Any, end: Array | None) -> Any:
        params, carry = beside
        # Sums that differ from device to device, whatever they come of.
        new, totals = alone(params, vary_over(frozenset({AXIS}), data), carry, end)
        return new, sum_over(AXIS, totals)

    mapped = None
    if devices is not None and devices.count > 1:
        mapped = jax.jit(devices.mapped(mine, (EVERYWHERE, ROWS), (ROWS, EVERYWHERE)))

    def totals(params: Params, data: Batches | Fed, carry: Carry, feeder: Feeder) -> Totals:
        part: Part = alone
        # Rows that cannot be shared are all on each device; such data are few.
        if mapped is not None and devices is not None and devices.can_share(data.batch_size):
            carry = devices.by_rows(carry)

            def part(params: Params, data: Any, carry: Carry, end: Array | None = None) -> Any:
                return mapped((params, carry), data, end)

        if isinstance(data, Fed):
            return added_up(part, params, data, carry, feeder)
        return part(params, data, carry)[1]

    return totals


_totals = lru_cache(maxsize=8)(_new_totals)


def is_of_classes(loss: Any) -> bool:
    """Whether targets are ids below the number of the model's outputs."""
    return unwrapped(loss)[0] is cross_entropy


def is_cross_entropy(loss: Any) -> bool:
    """Whether a loss is the plain one, whose mean is the logarithm of a perplexity."""
    function, given = unwrapped(loss)
    return function is cross_entropy and given.keys() <= {"reduction"}
