"""The loss on the validation data while a model trains."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.training.blocks import Batches
from rnn_jax.training.loop import SummableLoss, make_evaluate, takes_reduction
from rnn_jax.training.step import Loss
from rnn_jax.types import Array, Model, Params

__all__ = ["Validation", "cached", "evaluation", "is_cross_entropy", "is_of_classes"]

Validation = Batches | Callable[[Params], float | Array]

_totals = lru_cache(maxsize=8)(make_evaluate)


def cached(function: Any, *args: Any, **options: Any) -> Any:
    """A cached function; where something cannot be hashed, such as a loss, called anew."""
    try:
        hash((args, *options.values()))
    except TypeError:
        function = function.__wrapped__
    return function(*args, **options)


def evaluation(
    model: Model,
    validation: Validation | None,
    validation_loss: SummableLoss | None,
    loss: Loss,
    stateful: bool,
) -> Callable[[Params], float] | None:
    """The mean loss of parameters on the validation data of `fit`; None where there are none."""
    if validation is None:
        return None
    if callable(validation):
        return partial(_measured, validation)
    if validation_loss is None:
        summable: Any = loss
        validation_loss = summable if takes_reduction(loss) else cross_entropy
    totals = cached(_totals, model, loss=validation_loss)

    def evaluate(params: Params) -> float:
        carry = model.initial_carry((validation.batch_size,), params) if stateful else None
        nats, tokens = totals(params, validation, carry)
        if not int(tokens):
            raise ValueError("the validation data hold no target that is not masked: pass some")
        return float(nats) / int(tokens)

    return evaluate


def _measured(validation: Callable[[Params], float | Array], params: Params) -> float:
    """A loss that the caller defines."""
    value = validation(params)
    if np.ndim(value):
        raise ValueError(
            "the function validation= must return one number, the loss that is to become low, not "
            f"something of shape {np.shape(value)}"
        )
    return float(value)


def is_of_classes(loss: Any) -> bool:
    """Whether targets are ids below the number of the model's outputs."""
    return _unwrapped(loss)[0] is cross_entropy


def is_cross_entropy(loss: Any) -> bool:
    """Whether a loss is the plain one, whose mean is the logarithm of a perplexity."""
    function, given = _unwrapped(loss)
    return function is cross_entropy and given <= {"reduction"}


def _unwrapped(loss: Any) -> tuple[Any, set[str]]:
    """The function in a ``functools.partial`` of it, and the options that are given there."""
    given: set[str] = set()
    while isinstance(loss, partial):
        given |= loss.keywords.keys()
        loss = loss.func
    return loss, given
