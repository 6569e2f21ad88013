"""The learning rate over time: as a function of the updates, or ruled by what evaluations say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from rnn_jax.runs.settings import TrainConfig
from rnn_jax.types import Array

__all__ = ["Rule", "follows_a_schedule", "halve", "plateau", "schedule_of", "scheduled"]

# ``(losses of all evaluations so far, opt_state) -> opt_state``, after each of them.
Rule = Callable[[Sequence[float], optax.OptState], optax.OptState]


def follows_a_schedule(config: TrainConfig) -> bool:
    """Whether the learning rate is a function of the updates, and neither constant nor ruled."""
    return config.warmup > 0 or config.schedule in ("step", "exponential", "cosine")


def schedule_of(config: TrainConfig, updates_per_epoch: float) -> optax.Schedule:
    """The learning rate by the number of updates before.

    With a warm-up it rises from ``1/n`` of ``lr`` to all of it in the first ``n`` updates, and the
    decay begins then.
    """
    rate, least = config.learning_rate, config.min_lr
    warmup = math.ceil(config.warmup * updates_per_epoch)
    every = max(1, round(config.decay_every * updates_per_epoch))
    if config.schedule in ("step", "exponential"):
        decay = optax.exponential_decay(
            rate, every, config.decay_factor, staircase=config.schedule == "step", end_value=least
        )
    elif config.schedule == "cosine":
        updates = _updates(config, updates_per_epoch, warmup)
        decay = optax.cosine_decay_schedule(rate, updates, alpha=least / rate)
    else:
        decay = optax.constant_schedule(rate)
    if not warmup:
        return decay
    rise = optax.linear_schedule(rate / warmup, rate * (1 + 1 / warmup), warmup)
    return optax.join_schedules([rise, decay], [warmup])


def _updates(config: TrainConfig, updates_per_epoch: float, warmup: int) -> int:
    """The updates from the warm-up to the end of training."""
    if config.steps is None:
        updates = (config.epochs or 0) * updates_per_epoch
    else:
        updates = config.steps / config.accumulate
    return max(1, round(updates) - warmup)


class _Scheduled(NamedTuple):
    updates: Array
    inner: optax.OptState


def scheduled(
    optimizer: optax.GradientTransformation, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """An optimiser whose learning rate follows a schedule, and stands in its state once.

    Beside that of a schedule, `optax.inject_hyperparams` keeps a state of its own under the same
    name, and nobody can look the rate up.
    """
    update = optax.with_extra_args_support(optimizer).update

    def at(updates: Array, state: optax.OptState) -> optax.OptState:
        rate = optax.tree_utils.tree_get(state, "learning_rate")
        return optax.tree_utils.tree_set(
            state, learning_rate=jnp.asarray(schedule(updates), rate.dtype)
        )

    def init(params: Any) -> _Scheduled:
        first = jnp.zeros((), jnp.int32)
        return _Scheduled(first, at(first, optimizer.init(params)))

    def step(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, _Scheduled]:
        updates, inner = update(grads, at(state.updates, state.inner), params, **extra)
        return updates, _Scheduled(optax.safe_increment(state.updates), inner)

    # The kind of the optimiser stays: a train step updates used rows alone by plain descent.
    made: optax.GradientTransformation = type(optimizer)(init, step)
    return made


def halve(least: float = 0.0) -> Rule:
    """The learning rate halves after an evaluation whose loss is above the one before.

    Example:
      >>> state = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0).init({})
      >>> float(halve()([3.0, 3.5], state).hyperparams["learning_rate"])
      0.5
      >>> float(halve()([3.5, 3.0], state).hyperparams["learning_rate"])
      1.0
    """

    def rule(losses: Sequence[float], opt_state: optax.OptState) -> optax.OptState:
        risen = len(losses) > 1 and losses[-1] > losses[-2]
        return _scaled(opt_state, 0.5, least) if risen else opt_state

    return rule


def plateau(patience: int, factor: float, least: float = 0.0) -> Rule:
    """The learning rate is multiplied when evaluations stay without a new lowest loss.

    It is after ``patience + 1`` of them in a row, which are then counted anew.

    Example:
      >>> state = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0).init({})
      >>> rule, losses = plateau(1, 0.5), [3.0, 3.1, 3.2, 3.3, 3.0, 2.0]
      >>> for n in range(1, 7):
      ...     state = rule(losses[:n], state)
      ...     print(float(state.hyperparams["learning_rate"]), end=" ")
      1.0 1.0 0.5 0.5 0.25 0.25
    """

    def rule(losses: Sequence[float], opt_state: optax.OptState) -> optax.OptState:
        lowest, waited, falls = math.inf, 0, False
        for loss in losses:
            waited = 0 if loss < lowest else waited + 1
            lowest = min(loss, lowest)
            falls = waited > patience
            waited = 0 if falls else waited
        return _scaled(opt_state, factor, least) if falls else opt_state

    return rule


def _scaled(opt_state: optax.OptState, factor: float, least: float) -> optax.OptState:
    rate = optax.tree_utils.tree_get(opt_state, "learning_rate")
    lower = jnp.maximum(rate * factor, jnp.minimum(rate, jnp.asarray(least, rate.dtype)))
    return optax.tree_utils.tree_set(opt_state, learning_rate=lower)
