"""Many steps inside one compiled call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnn_jax.jaxprs import vary_over, varying_axes
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.training.batches import Batches, Windows
from rnn_jax.training.checks import (
    check_bounds,
    check_data,
    check_model,
    check_params,
    count_of,
)
from rnn_jax.training.fed import Fed
from rnn_jax.training.feeding import Feeder
from rnn_jax.training.objective import make_objective
from rnn_jax.training.step import TrainState, TrainStep, check_state
from rnn_jax.training.streams import SentenceStream
from rnn_jax.types import Array, Batch, Carry, Model, Params

__all__ = ["SummableLoss", "make_evaluate", "make_train_steps", "takes_reduction"]

Totals = tuple[Array, Array]


def make_train_steps(
    train_step: TrainStep, *, summed: bool = False
) -> Callable[..., tuple[TrainState, Totals]]:
    """Steps ``begin … end-1`` of a data set as one compiled call with its state donated.

    One call allocates once for all its steps and leaves the device no idle moment between them.
    The bounds are arguments, not constants: any part of an epoch runs through one compilation.
    The arrays of the state are gone after the call, those of the parameters that it was made of
    included; go on with the state that comes back, and begin with a copy,
    ``jax.tree.map(jnp.copy, params)``, to keep what the training began with.

    Args:
      train_step: from `make_train_step`.
      summed: whether its loss is summed over a batch's tokens, and not their mean.

    Returns:
      ``run(state, data, begin, end, key=None) -> (state, (nats, tokens))``: ``data`` is a `Windows`
      or a `SentenceStream`, ``nats`` the loss summed over all tokens seen (a batch's mean times
      its tokens). Each step gets its own key, made from ``key`` and the step's number.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> optimizer = rnn_jax.sgd(0.1)
      >>> state = rnn_jax.init_train_state(model, optimizer, model.init(jax.random.key(0)))
      >>> run = make_train_steps(rnn_jax.make_train_step(model, optimizer))
      >>> data = rnn_jax.Windows(jnp.ones((10, 5, 2), int), jnp.ones((10, 5, 2), int))
      >>> state, (nats, tokens) = run(state, data, 0, 10)
      >>> int(state.step), int(tokens)
      (10, 100)
    """

    if not callable(train_step):
        raise ValueError(f"a step from make_train_step is wanted, not {train_step!r}")

    @partial(jax.jit, donate_argnums=0)
    def compiled(
        state: TrainState,
        data: Windows | SentenceStream,
        begin: Array,
        end: Array,
        key: Array | None,
    ) -> tuple[TrainState, Totals]:
        def consume(loop: tuple[TrainState, Totals], batch: Batch) -> tuple[TrainState, Totals]:
            state, (nats, tokens) = loop
            step_key = None if key is None else jax.random.fold_in(key, state.step)
            state, metrics = train_step(state, batch, key=step_key)
            seen = metrics["tokens"]
            nats = nats + metrics["loss"] * (1 if summed else seen)
            return state, (nats, tokens + seen)

        axes = varying_axes(state, data, key)

        def alike(loop: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
            state, totals = loop
            return state._replace(carry=vary_over(axes, state.carry)), vary_over(axes, totals)

        def body(index: Array, loop: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
            return alike(data.visit(index, consume, loop))

        zero = _zero(state.params)
        last = jnp.minimum(end, data.count)  # an index beyond would be the last batch again
        return lax.fori_loop(begin, last, body, alike((state, (zero, jnp.zeros((), int)))))

    def run(
        state: TrainState,
        data: Windows | SentenceStream,
        begin: int | Array,
        end: int | Array,
        key: Array | None = None,
    ) -> tuple[TrainState, Totals]:
        check_state(state)
        check_data(data)
        check_bounds(begin, end)
        # Explicitly, as a transfer guard asks for.
        return compiled(state, data, *jax.device_put((begin, end)), key)

    return run


class SummableLoss(Protocol):
    """A `Loss` that gives the sum over all valid steps where it is asked for it."""

    def __call__(
        self, outputs: Array, targets: Array, /, *, mask: Array | None, reduction: Literal["sum"]
    ) -> Array:
        """The sum."""
        ...


def make_evaluate(model: Model, *, loss: SummableLoss = cross_entropy) -> Callable[..., Totals]:
    """The loss over a whole data set as one compiled call.

    Args:
      model: a `Model`.
      loss: the loss that the model was trained with. It is asked for ``reduction="sum"``, whatever
        it gives by default, so that no step counts more than another, however batches were cut.

    Returns:
      ``evaluate(params, data, carry=None) -> (nats, tokens)``: the loss summed over all valid
      steps, and their number. With ``carry=None`` every batch begins anew; with a carry each batch
      continues the one before, up to the resets in it. Under class weights the sum is the weighted
      one; for the weighted mean divide by the sum of the targets' weights, not by ``tokens``. Of
      data that are `Fed` the sums are NumPy's, of 64 bits.

    Raises:
      ValueError: a loss without ``reduction``. By the function: the parameters are no arrays of
        floats, or deleted by a step that they were donated to; the data are neither of the two.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> data = rnn_jax.Windows(jnp.ones((10, 5, 2), int), jnp.ones((10, 5, 2), int))
      >>> nats, tokens = make_evaluate(model)(model.init(jax.random.key(0)), data)
      >>> 3 < float(nats / tokens) < 5  # about ln 50
      True
    """

    check_model(model)
    if not takes_reduction(loss):
        raise ValueError(
            f"make_evaluate() adds up the losses of all steps, and {loss!r} takes no reduction: "
            'write loss(outputs, targets, *, mask, reduction), which gives the sum for "sum"'
        )

    part = summing(model, loss)

    def evaluate(params: Params, data: Batches | Fed, carry: Carry = None) -> Totals:
        check_params(params)
        if isinstance(data, Fed):
            with Feeder() as feeder:
                sums: Totals = added_up(part, params, data, carry, feeder)
                return sums
        check_data(data)
        return part(params, data, carry)[1]

    return evaluate


Part = Callable[..., tuple[Carry, Totals]]


def summing(model: Model, loss: SummableLoss) -> Part:
    """``part(params, data, carry, end=None) -> (carry, totals)``, of all batches or so many."""
    objective = make_objective(model, loss)

    @jax.jit
    def part(
        params: Params, data: Batches, carry: Carry, end: Array | None = None
    ) -> tuple[Carry, Totals]:
        def consume(loop: tuple[Carry, Totals], batch: Batch) -> tuple[Carry, Totals]:
            carry, (nats, tokens) = loop
            found = objective(params, carry, batch, reduction="sum")
            count = count_of(found.outputs, found.mask)
            new = None if carry is None else found.carry
            return new, (nats + found.loss, tokens + count)

        def body(index: Array, loop: tuple[Carry, Totals]) -> tuple[Carry, Totals]:
            return vary_over(axes, data.visit(index, consume, loop))

        axes = varying_axes(params, data, carry)
        zero = _zero(params)
        start = vary_over(axes, (carry, (zero, jnp.zeros((), int))))
        return lax.fori_loop(0, data.count if end is None else end, body, start)

    return part


def added_up(part: Part, params: Params, data: Fed, carry: Carry, feeder: Feeder) -> Any:
    """The totals of batches that are fed, added up in 64 bits."""
    nats, tokens, done = 0.0, 0, 0
    while done < data.count:
        batches, first, done = feeder.piece(data, done)
        carry, totals = part(params, batches, carry, jax.device_put(np.int32(done - first)))
        nats, tokens = nats + float(totals[0]), tokens + int(totals[1])
    return np.float64(nats), np.int64(tokens)


def takes_reduction(loss: Callable[..., Array]) -> bool:
    """Whether a loss can be asked for its sum."""
    try:
        taken = inspect.signature(loss).parameters.values()
    except ValueError:  # nothing is known of it: it may
        return True
    return any(p.name == "reduction" or p.kind is p.VAR_KEYWORD for p in taken)


def _zero(params: Params) -> Array:
    """The sum that losses are added to: in float32 at least, as losses are."""
    return jnp.zeros((), jnp.promote_types(jax.tree.leaves(params)[0].dtype, jnp.float32))
