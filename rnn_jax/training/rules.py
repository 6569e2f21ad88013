"""Rules: what is done to an optimiser's state after an evaluation, from all losses so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp
import optax

from rnn_jax.host.checks import not_negative, positive
from rnn_jax.training.checks import is_number
from rnn_jax.types import Array

__all__ = ["Rule", "halve", "learning_rate", "plateau", "set_learning_rate", "start_averaging"]


class Rule(Protocol):
    """``(losses, opt_state) -> opt_state``, called after every evaluation.

    Pure in its arguments: it remembers nothing, so that a resumed training does the same.
    """

    def __call__(self, losses: Sequence[float], opt_state: optax.OptState, /) -> optax.OptState:
        """The state to go on with, given all evaluated losses, the newest last."""
        ...


def halve() -> Rule:
    """The rule that halves the learning rate whenever the loss has risen.

    It halves it where the newest loss is higher than the one before it.

    Returns:
      A `Rule`.

    Raises:
      ValueError: by the rule: the state holds no learning rate, or one that follows a schedule.

    Example:
      >>> import jax.numpy as jnp, rnn_jax
      >>> state = rnn_jax.sgd(0.5).init({"w": jnp.zeros(2)})
      >>> float(rnn_jax.learning_rate(halve()([3.0, 3.1], state)))
      0.25
    """
    return _Halve()


@dataclass(frozen=True)
class _Halve:
    def __call__(self, losses: Sequence[float], opt_state: optax.OptState) -> optax.OptState:
        _rates(opt_state, "halve()")
        risen = len(losses) > 1 and losses[-1] > losses[-2]
        return _scaled(opt_state, 0.5, 0.0) if risen else opt_state


def plateau(
    factor: float = 0.5,
    patience: int = 2,
    *,
    cooldown: int = 0,
    min_rate: float = 0.0,
    rtol: float = 1e-4,
) -> Rule:
    """The rule that lowers the learning rate where the loss no longer falls.

    A loss ``v`` is an improvement where ``v < (1 - rtol) · best`` of those before it. After
    ``patience`` evaluations in a row without one the rate is multiplied by ``factor``, and the
    count begins anew. It counts as ``optax.contrib.reduce_on_plateau`` does, but evaluations
    rather than steps.

    Args:
      factor: in ``(0, 1)``.
      patience: how many evaluations without improvement lower the rate.
      cooldown: how many evaluations after that are not counted.
      min_rate: where the decrease ends.
      rtol: by what share of the best a loss must fall to count as an improvement, in ``[0, 1)``.

    Returns:
      A `Rule`.

    Raises:
      ValueError: numbers outside of these ranges. By the rule: the state holds no learning rate, or
        one that follows a schedule.

    Example:
      >>> import jax.numpy as jnp, rnn_jax
      >>> state, rule = rnn_jax.sgd(0.5).init({"w": jnp.zeros(2)}), plateau(0.1)
      >>> losses = [3.0, 2.0, 2.5, 2.1]
      >>> for seen in range(1, 5):
      ...     state = rule(losses[:seen], state)
      >>> print(f"{rnn_jax.learning_rate(state):.2f}")
      0.05
    """
    return _Plateau(factor, patience, cooldown, min_rate, rtol)


@dataclass(frozen=True)
class _Plateau:
    factor: float
    patience: int
    cooldown: int
    min_rate: float
    rtol: float

    def __post_init__(self) -> None:
        positive(patience=self.patience)
        not_negative(cooldown=self.cooldown)
        if not is_number(self.factor) or not 0 < self.factor < 1:
            raise ValueError(f"factor must lie in (0, 1), not {self.factor!r}")
        if not is_number(self.rtol) or not 0 <= self.rtol < 1:
            raise ValueError(f"rtol must lie in [0, 1), not {self.rtol!r}")
        if not is_number(self.min_rate) or not 0 <= self.min_rate < math.inf:
            raise ValueError(
                f"min_rate must be a finite number of at least 0, not {self.min_rate!r}"
            )

    def __call__(self, losses: Sequence[float], opt_state: optax.OptState) -> optax.OptState:
        _rates(opt_state, "plateau()")
        lowers = self._lowers(losses)
        return _scaled(opt_state, self.factor, self.min_rate) if lowers else opt_state

    def _lowers(self, losses: Sequence[float]) -> bool:
        """Whether the newest of these losses lowers the rate."""
        best, waited, cooling, lowered = math.inf, 0, 0, False
        for loss in losses:
            better = loss < (1 - self.rtol) * best
            best = loss if better else best
            waited = 0 if better or cooling else waited + 1
            cooling = max(cooling - 1, 0)
            lowered = waited == self.patience
            if lowered:
                waited, cooling = 0, self.cooldown
        return lowered


def start_averaging(patience: int = 5) -> Rule:
    """The rule by which `asgd` begins to average: the non-monotone trigger of NT-ASGD.

    Averaging begins, once and for all, where more than ``patience`` losses came before the newest
    and it is higher than the lowest of them, the last ``patience`` left out: for so long there has
    been no new best one. That is the condition in the program of the paper's authors.

    Args:
      patience: the non-monotone interval ``n``, in evaluations.

    Returns:
      A `Rule`.

    Raises:
      ValueError: a patience that is no integer of at least 0. By the rule: the state is not that of
        `asgd`.

    Example:
      >>> import jax.numpy as jnp, optax, rnn_jax
      >>> state = rnn_jax.asgd(optax.sgd(1.0)).init({"w": jnp.zeros(2)})
      >>> rule = start_averaging(patience=2)
      >>> [int(rule(l, state).averaged_steps) for l in ([3, 2, 2.5], [3, 2, 2.5, 2.1])]
      [0, 0]
      >>> int(rule([3, 2, 2.5, 2.1, 2.05], state).averaged_steps)
      1

    Reference:
      Merity, Keskar and Socher, Regularizing and optimizing LSTM language models,
      arXiv:1708.02182, algorithm 1.
    """
    return _StartAveraging(patience)


@dataclass(frozen=True)
class _StartAveraging:
    patience: int

    def __post_init__(self) -> None:
        not_negative(patience=self.patience)

    def __call__(self, losses: Sequence[float], opt_state: optax.OptState) -> optax.OptState:
        count: Any = optax.tree_utils.tree_get(opt_state, "averaged_steps", None)
        if count is None:
            raise ValueError(
                "start_averaging() finds no average in the optimiser's state: wrap the optimiser "
                "in asgd()"
            )
        earlier = losses[: max(len(losses) - 1 - self.patience, 0)]
        if not earlier or not losses[-1] > min(earlier):
            return opt_state
        # The average is the newest parameters so far, which are the first of those averaged.
        begun = jnp.maximum(count, jnp.ones_like(count))
        return optax.tree_utils.tree_set(opt_state, averaged_steps=begun)


def learning_rate(opt_state: optax.OptState) -> Array:
    """The learning rate in an optimiser's state.

    It is that of the next step; under a schedule, that of the newest.

    Args:
      opt_state: of `sgd`, or of an optimiser made by ``optax.inject_hyperparams``, wherever that
        stands in others. Of several rates it is the first.

    Raises:
      ValueError: there is none.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> adam = optax.inject_hyperparams(optax.adam)(learning_rate=0.5)
      >>> float(learning_rate(optax.chain(optax.clip(1.0), adam).init({"w": jnp.zeros(2)})))
      0.5
    """
    rate: Array = jnp.asarray(_found(opt_state)[0][1])
    return rate


def set_learning_rate(opt_state: optax.OptState, rate: float | Array) -> optax.OptState:
    """An optimiser's state with another learning rate; of several, all are set.

    Args:
      opt_state: as for `learning_rate`.
      rate: the new one.

    Raises:
      ValueError: there is none, or it follows a schedule.

    Example:
      >>> import jax.numpy as jnp, rnn_jax
      >>> state = rnn_jax.sgd(0.5).init({"w": jnp.zeros(2)})
      >>> float(learning_rate(set_learning_rate(state, 0.125)))
      0.125
    """
    for path, old in _rates(opt_state, "set_learning_rate()"):
        opt_state = _replaced(opt_state, path, jnp.asarray(rate, jnp.result_type(old)))
    return opt_state


def _scaled(opt_state: optax.OptState, factor: float, least: float) -> optax.OptState:
    """Every learning rate times ``factor``, but none above what it was or below ``least``."""
    for path, old in _found(opt_state):
        old = jnp.asarray(old)
        # Not raised to the least rate where it lies below it already.
        new = jnp.minimum(old, jnp.maximum(old * factor, jnp.asarray(least, old.dtype)))
        opt_state = _replaced(opt_state, path, new)
    return opt_state


def _rates(opt_state: optax.OptState, name: str) -> list[tuple[Any, Any]]:
    """Where rates stand that may be changed, and what they are."""
    found = _found(opt_state)
    if optax.tree_utils.tree_get_all_with_path(opt_state, "learning_rate", _is_scheduled):
        raise ValueError(
            f"{name} changes the learning rate, but a schedule sets it anew at every step: use one "
            "of the two"
        )
    return found


def _found(opt_state: optax.OptState) -> list[tuple[Any, Any]]:
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "learning_rate", _is_rate)
    if not found:
        raise ValueError(
            "the optimiser's state holds no learning rate: make the optimiser by "
            "optax.inject_hyperparams, such as "
            "optax.inject_hyperparams(optax.adam)(learning_rate=1e-3)"
        )
    return list(found)


def _replaced(opt_state: optax.OptState, path: Any, rate: Array) -> optax.OptState:
    return optax.tree_utils.tree_set(opt_state, lambda at, _: at == path, learning_rate=rate)


def _is_rate(path: Any, _: Any) -> bool:
    """Whether it is a hyperparameter, and neither a schedule's state nor a parameter's name."""
    return _is_field(path[-1]) or (len(path) > 1 and _is_field(path[-2], "hyperparams"))


def _is_scheduled(path: Any, _: Any) -> bool:
    return len(path) > 1 and _is_field(path[-2], "hyperparams_states")


def _is_field(key: Any, name: str | None = None) -> bool:
    is_field = isinstance(key, optax.tree_utils.NamedTupleKey)
    return is_field and name in (None, key.name)
