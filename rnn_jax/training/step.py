"""One training step as a pure function of the state and a batch."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from rnn_jax.arrays.checks import all_finite, check_array, is_key
from rnn_jax.arrays.paths import replace_at
from rnn_jax.layers.activation_penalty import penalised_part, penalties_over
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.recurrence.layouts import batch_shape_of
from rnn_jax.training.across import Across, Found, check_mean, part_that_counts
from rnn_jax.training.checks import (
    batch_of,
    check_loss,
    check_model,
    check_optimizer,
    check_params,
    count_of,
    drawn_by,
    optimizer_errors_explained,
    shape_of,
)
from rnn_jax.training.descent import make_descent
from rnn_jax.training.lazy import inner_of
from rnn_jax.training.objective import make_objective
from rnn_jax.training.reducing import make_begin
from rnn_jax.training.sgd import PlainSGD
from rnn_jax.types import Array, Batch, Carry, Model, Params, Share

__all__ = [
    "Loss",
    "Metrics",
    "TrainState",
    "TrainStep",
    "check_state",
    "init_train_state",
    "make_train_step",
]

Metrics = dict[str, Array]


class Loss(Protocol):
    """A loss of outputs ``[T, B, …]`` against targets ``[T, B(, C)]`` under a mask."""

    def __call__(self, outputs: Array, targets: Array, /, *, mask: Array | None) -> Array:
        """The scalar that is minimised."""
        ...


class TrainState(NamedTuple):
    """Everything that training changes.

    carry: None where every batch begins with the initial carry; otherwise the carry after the
      batch before, detached, for batches that continue each other.
    """

    params: Params
    opt_state: optax.OptState
    carry: Carry
    step: Array


class TrainStep(Protocol):
    """``(state, batch, *, key=None) -> (state, metrics)``."""

    def __call__(
        self, state: TrainState, batch: Batch, *, key: Array | None = None
    ) -> tuple[TrainState, Metrics]:
        """The state after one step, and its metrics."""
        ...


def init_train_state(
    model: Model,
    optimizer: optax.GradientTransformation,
    params: Params,
    *,
    batch_shape: tuple[int, ...] | None = None,
) -> TrainState:
    """The state before the first step.

    Args:
      model: a `Model`.
      optimizer: any optax optimiser.
      params: the model's parameters, from ``model.init(key)`` or elsewhere. The state holds these
        very arrays, and a step that the state is donated to uses up their memory. To keep them,
        hand a copy over: ``jax.tree.map(jnp.copy, params)``.
      batch_shape: of the batches, where each continues the one before it; None where every batch
        begins anew.

    Raises:
      ValueError: the parameters are no arrays of floats, or deleted; the optimiser is none.

    Example:
      >>> import jax, optax, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> state = init_train_state(model, optax.adam(1e-3), model.init(jax.random.key(0)))
      >>> state.carry is None, int(state.step)
      (True, 0)
    """
    check_model(model)
    check_optimizer(optimizer)
    check_params(params)
    carry = None if batch_shape is None else model.initial_carry(shape_of(batch_shape), params)
    opt_state = _distinct(optimizer.init(params), params)
    return TrainState(params, opt_state, carry, jnp.zeros((), jnp.int32))


def check_state(state: Any) -> None:
    """Raise ValueError unless it is a state that can be trained."""
    if not isinstance(state, TrainState):
        raise ValueError(
            f"a train step goes on from a TrainState, not {type(state).__name__}: pass what "
            "init_train_state or the step before gave"
        )
    check_params(state.params)
    check_array("the state's step", state.step, "int[]")


def make_train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    loss: Loss = cross_entropy,
    noise: bool | Literal["by row"] = True,
    skip_nonfinite: bool = False,
    axis_name: str | None = None,
    summed: bool = False,
) -> TrainStep:
    """The step ``(state, batch, *, key=None) -> (state, metrics)``, pure; the caller jits it.

    ``l, ∇ = value_and_grad(loss(model(params, inputs), targets))``, then the optimiser's update.
    The carry from the batch before is a constant of the step: gradients stop between batches. Where
    the batch has ``resets``, the carry is the initial one, and no gradient passes.
    With `sgd`, clipped or not, only those rows of the input matrix that the batch uses are
    differentiated and updated; the result is the same. With `lazy` that is so by any optimiser.

    Args:
      model: a `Model`, truncated or not.
      optimizer: any optax optimiser, one that needs the loss or searches along a line included: it
        gets ``value``, ``grad`` and ``value_fn``, the loss of the batch as a function of the
        parameters.
      loss: ``loss(outputs, targets, mask=…) -> scalar``, such as `mean_squared_error`, or
        ``partial(cross_entropy, class_weights=…)``; the mean cross-entropy by default.
      noise: whether dropout, zoneout, `weight_drop` and `randomized` truncation act; False trains
        as if they were not there, and the step then takes no key. ``"by row"`` draws the noise of
        each row by itself, other values than by True, and all that many devices can share.
      skip_nonfinite: whether a step whose loss or gradient is not finite leaves the state as it is,
        but for its number; neither is a gradient whose square is too large for its dtype.
      axis_name: of the mesh axis over whose devices the rows of batch and carry are spread; the
        step is then called inside ``jax.shard_map``, with the rows of each device, and does to the
        rounding what it does to the whole batch without. Gradient, loss and tokens of all devices
        are summed by one all-reduce. With ``noise=True`` each device draws that of all rows.
      summed: whether the loss is a sum over valid outputs; with an ``axis_name`` it is otherwise
        taken for their mean, or the weighted one of `cross_entropy`.

    Returns:
      The step. ``key`` is for what draws noise; a model without any needs none. The metrics are
      ``loss`` and ``tokens``, the number of valid steps; with ``skip_nonfinite`` also ``skipped``.

    Raises:
      ValueError: by the step: the model draws noise and there is no key, or a key comes with
        ``noise=False``; the optimiser needs something that a step does not have; state, batch or
        loss are something else, such as bare parameters; the batch has resets that are not
        ``bool[T, B]``, or that the model does not take.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> optimizer = rnn_jax.sgd(0.1)
      >>> state = rnn_jax.init_train_state(model, optimizer, model.init(jax.random.key(0)))
      >>> step = jax.jit(make_train_step(model, optimizer), donate_argnums=0)
      >>> tokens = jnp.arange(12).reshape(6, 2)
      >>> losses = []
      >>> for _ in range(3):
      ...     state, metrics = step(state, rnn_jax.Batch(tokens[:-1], tokens[1:]))
      ...     losses.append(float(metrics["loss"]))
      >>> losses == sorted(losses, reverse=True)
      True
    """
    check_model(model)
    check_optimizer(optimizer)
    if not callable(loss):
        raise ValueError(f"the loss must be a function loss(logits, targets, mask=…), not {loss!r}")
    if noise not in (True, False, "by row"):
        raise ValueError(f'noise must be True, False or "by row", not {noise!r}')
    drawn = drawn_by(model) if noise else None
    across = None
    if axis_name is not None:
        check_mean(loss, summed=summed)
        across = Across(axis_name, summed, counts_first=penalised_part(model) is not None)
        model = penalties_over(model, axis_name)
    measure = make_objective(model, loss)
    begin = make_begin(model, optimizer, loss, axis_name)
    inner = inner_of(optimizer)
    update = optax.with_extra_args_support(inner).update
    plain = isinstance(inner, PlainSGD) and not inner.clipped
    descend = make_descent(model, loss) if plain and across is None else None

    def train_step(
        state: TrainState, batch: Batch, *, key: Array | None = None
    ) -> tuple[TrainState, Metrics]:
        check_state(state)
        if drawn and key is None:
            raise ValueError(
                f"{drawn} draws noise, but the step has no key: pass key=, or train as if it were "
                "not there by make_train_step(…, noise=False)"
            )
        if key is not None and not noise:
            raise ValueError("a step made with noise=False takes no key: leave out one of the two")
        batch = batch_of(batch)
        shape = batch_shape_of(batch.inputs)
        check_array("the targets of a batch", batch.targets, "[T, B]")
        with optimizer_errors_explained(optimizer, state):
            begun = begin(state.params, state.opt_state, batch, key)
        params, batch = begun.params, begun.batch

        first: Array | int | Share | None = 0 if noise == "by row" else None
        if across is not None:
            first = across.rows(shape[0], by_row=noise == "by row")

        def objective(params: Params) -> tuple[Array, Found]:
            found = measure(params, state.carry, batch, key=key, rows=first, drawn=begun.drawn)
            check_loss(found.loss)
            counts = None
            if across is not None:
                counts = part_that_counts(loss, found.outputs, batch.targets, found.mask)
            return found.loss, Found(found.carry, count_of(found.outputs, found.mask), counts)

        descended = None
        if descend is not None:
            descended = descend(params, state.carry, batch, key=key, rows=first)
        if descended is not None:
            (new, outputs, valid, value), grads = descended.found, descended.grads
            found, value_of = Found(new, count_of(outputs, valid), None), None
            params = replace_at(params, descended.place, None)
        elif across is None:
            (value, found), grads = jax.value_and_grad(objective, has_aux=True)(params)
            value_of = lambda params: objective(params)[0]  # noqa: E731
        else:
            (value, found), grads = across.value_and_grad(objective, params)
            value_of = partial(across.value, objective)
        with optimizer_errors_explained(optimizer, state):
            updates, opt_state = update(
                grads, begun.opt_state, params, value=value, grad=grads, value_fn=value_of
            )
        carry = None if state.carry is None else found.carry
        metrics = {"loss": value, "tokens": found.tokens}
        if skip_nonfinite:
            # Squares, because optimisers take those of a gradient.
            bound = () if descended is None else descended.bound
            good = all_finite((value, jax.tree.map(jnp.square, (grads, bound))))
            opt_state, carry = _where(good, (opt_state, carry), (begun.opt_state, state.carry))
            # What is added, not the sum: of a table only some rows are touched. No sum changes
            # with a negative zero.
            updates = _where(good, updates, jax.tree.map(lambda u: jnp.full_like(u, -0.0), updates))
            metrics["skipped"] = ~good
        params, opt_state = begun.finish(params, updates, opt_state)
        if descended is not None:

            def change(old: Array, grad: Array) -> Array:
                added, _ = update(grad, state.opt_state, old)
                if skip_nonfinite:
                    added = _where(good, added, jnp.full_like(added, -0.0))
                changed: Array = optax.apply_updates(old, added)
                return changed

            params = replace_at(params, descended.place, descended.change(change))
        return TrainState(params, opt_state, carry, state.step + 1), metrics

    return train_step


def _where(good: Array, new: Any, old: Any) -> Any:
    """Each leaf of one tree or the other."""
    return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)


def _distinct(opt_state: optax.OptState, params: Params) -> optax.OptState:
    """``opt_state`` in arrays of its own: a step whose state is donated gives each away once.

    Some optimisers begin with the parameters themselves, with one array twice, or with a key that
    is theirs each time.
    """
    seen = {id(leaf) for leaf in jax.tree.leaves(params)}

    def own(leaf: Array) -> Array:
        copy = jnp.copy(leaf) if id(leaf) in seen or is_key(leaf) else leaf
        seen.add(id(leaf))
        return copy

    return jax.tree.map(own, opt_state)
