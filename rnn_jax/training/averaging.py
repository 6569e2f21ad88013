"""Averages of the parameters along training, which generalise better than the last ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnn_jax.training.checks import check_optimizer, is_number
from rnn_jax.types import Array, Params, state_dtype

__all__ = ["ASGDState", "EMAState", "asgd", "averaged", "ema"]


class EMAState(NamedTuple):
    """The state of `ema`.

    average: of the parameters, in float32 at least, in arrays of its own.
    updates: how many there were.
    inner_state: that of the optimiser inside.
    """

    average: Params
    updates: Array
    inner_state: optax.OptState


class ASGDState(NamedTuple):
    """The state of `asgd`.

    average: of the parameters, in float32 at least, in arrays of its own.
    averaged_steps: how many iterates it is the mean of; 0 while it only follows them.
    inner_state: that of the optimiser inside.
    """

    average: Params
    averaged_steps: Array
    inner_state: optax.OptState


def ema(
    optimizer: optax.GradientTransformation, decay: float
) -> optax.GradientTransformationExtraArgs:
    """An optimiser that keeps an exponential moving average of the parameters.

    ``a_n = (1 - decay) / (1 - decayⁿ) · Σ_i decay^(n-i) w_i`` over the parameters ``w_1 … w_n``
    after each update. That is optax's `ema` of them with its bias removed: the parameters that
    training began with have no weight, the first average is ``w_1`` itself, and ``a_n`` needs no
    correction when it is read. The updates are the optimiser's own.

    The state is an `EMAState`; `averaged` reads it. Wrap whatever changes the updates, so that
    the average is of the parameters that come out; only ``optax.MultiSteps`` goes around it, which
    then averages once an update and not once a batch. `sgd` inside it updates all rows of the
    input matrix, and not only those that a batch uses, because the average moves in all of them.

    Args:
      optimizer: any optax optimiser.
      decay: in ``[0, 1)``; the average reaches back over about ``1 / (1 - decay)`` updates.

    Raises:
      ValueError: a decay outside, or something that is no optimiser. By the update: it is called
        without parameters.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> optimizer = ema(optax.sgd(1.0), 0.5)
      >>> params = {"w": jnp.array(0.0)}
      >>> state = optimizer.init(params)
      >>> for _ in range(2):  # to -1 and -2
      ...     updates, state = optimizer.update({"w": jnp.array(1.0)}, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f"{averaged(state, params)['w']:.4f}")  # (0.5 · -1 + 1 · -2) / 1.5
      -1.6667

    Reference:
      Polyak and Juditsky, Acceleration of stochastic approximation by averaging, SIAM Journal on
      Control and Optimization 30 (1992); the removed bias: Kingma and Ba, Adam, ICLR 2015.
    """
    if not is_number(decay) or not 0 <= decay < 1:
        raise ValueError(f"decay must lie in [0, 1), not {decay!r}")
    log_decay = math.log(decay) if decay else -math.inf

    def share(count: Array) -> tuple[Array, Array]:
        count = optax.safe_increment(count)
        # expm1, because 1 - decayⁿ loses its digits where the decay is close to 1.
        return count, jnp.minimum((1 - decay) / -jnp.expm1(count.astype(float) * log_decay), 1.0)

    return _averaging(optimizer, share, EMAState, "ema")


def asgd(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """An optimiser that keeps the mean of the parameters from some step on (averaged SGD).

    ``a = 1 / (K - T + 1) · Σ_{i=T…K} w_i`` after K updates, where averaging began after update T.
    It begins when `start_averaging` says so; until then the average is the parameters themselves.
    The updates are the optimiser's own. With `start_averaging` this is NT-ASGD.

    The state is an `ASGDState`; `averaged` reads it. What `ema` says of what goes inside holds
    here, too.

    Args:
      optimizer: any optax optimiser, plain gradient descent in the paper.

    Raises:
      ValueError: something that is no optimiser. By the update: it is called without parameters.

    Example:
      >>> import jax.numpy as jnp, optax, rnn_jax
      >>> optimizer = asgd(optax.sgd(1.0))
      >>> params = {"w": jnp.array(0.0)}
      >>> state = optimizer.init(params)
      >>> begin = rnn_jax.start_averaging(patience=0)
      >>> state = begin([1.0, 2.0], state)  # the loss has risen
      >>> for _ in range(2):  # to -1 and -2
      ...     updates, state = optimizer.update({"w": jnp.array(1.0)}, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f"{averaged(state, params)['w']:.4f}")  # (0 - 1 - 2) / 3
      -1.0000

    Reference:
      Merity, Keskar and Socher, Regularizing and optimizing LSTM language models,
      arXiv:1708.02182.
    """

    def share(count: Array) -> tuple[Array, Array]:
        begun = count > 0
        following = optax.safe_increment(count)
        return jnp.where(begun, following, 0), jnp.where(begun, 1 / following.astype(float), 1.0)

    return _averaging(optimizer, share, ASGDState, "asgd")


def averaged(opt_state: optax.OptState, params: Params) -> Params:
    """The averaged parameters that an optimiser's state holds; ``params`` where it holds none.

    They are to be evaluated and kept in place of ``params``; training goes on from ``params``.
    They may share arrays with the state: copy them before a step that the state is donated to.

    Args:
      opt_state: of `ema` or `asgd`, wherever they stand in an optimiser, or of any other one. An
        optimiser of your own keeps its average in a field ``average`` of a NamedTuple.
      params: the parameters, which give the dtypes.

    Raises:
      ValueError: the state holds several averages.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> params = {"w": jnp.ones(2)}
      >>> averaged(optax.adam(0.1).init(params), params) is params
      True
    """
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "average", _in_named_tuple)
    if len(found) > 1:
        raise ValueError(
            f"the optimiser's state holds {len(found)} averages of the parameters: wrap the whole "
            "optimiser in one ema() or asgd()"
        )
    if not found:
        return params
    return jax.tree.map(lambda a, p: a.astype(p.dtype), found[0][1], params)


def _averaging(
    optimizer: optax.GradientTransformation,
    share: Callable[[Array], tuple[Array, Array]],
    kind: type[EMAState] | type[ASGDState],
    name: str,
) -> optax.GradientTransformationExtraArgs:
    """``a ← a + s (w - a)`` after every update; ``share`` counts, and gives ``s``."""
    check_optimizer(optimizer)
    update_inside = optax.with_extra_args_support(optimizer).update

    def init(params: Params) -> EMAState | ASGDState:
        # Copies: a step that its state is donated to gives each array away once.
        average = jax.tree.map(lambda p: jnp.array(p, state_dtype(p.dtype)), params)
        return kind(average, jnp.zeros((), jnp.int32), optimizer.init(params))

    def update(
        updates: optax.Updates, state: EMAState | ASGDState, params: Params = None, **extra: Any
    ) -> tuple[optax.Updates, EMAState | ASGDState]:
        if params is None:
            raise ValueError(
                f"{name}() averages the parameters: call update(gradients, state, params)"
            )
        _, count, inner = state
        updates, inner = update_inside(updates, inner, params, **extra)
        count, weight = share(count)
        new = optax.apply_updates(params, updates)

        def mix(w: Array, a: Array) -> Array:
            s = weight.astype(a.dtype)
            return jnp.where(s == 1, w.astype(a.dtype), a + s * (w.astype(a.dtype) - a))

        average = jax.tree.map(mix, new, state.average)
        return updates, kind(average, count, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def _in_named_tuple(path: Any, _: Any) -> bool:
    """Whether it is a field, and not a parameter of the same name."""
    return isinstance(path[-1], optax.tree_utils.NamedTupleKey)
