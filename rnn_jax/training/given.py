"""What `fit` is given, checked before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from rnn_jax.host.checks import not_negative, positive
from rnn_jax.training.batches import Batches
from rnn_jax.training.checks import check_data, is_number
from rnn_jax.training.fed import Fed
from rnn_jax.training.loop import SummableLoss
from rnn_jax.training.rules import Rule
from rnn_jax.types import Array, Params

__all__ = ["Data", "check_batches", "check_given", "epochs_of"]

Data = Batches | Fed | Callable[[int], Batches | Fed | tuple[Batches | Fed, int]]


def check_given(
    epochs: int | None,
    steps: int | None,
    seconds: float | None,
    key: Array | None,
    params: Params,
    validation: Any,
    validation_loss: SummableLoss | None,
    rules: Sequence[Rule],
    patience: int | None,
) -> None:
    """Raise ValueError unless options of `fit` are what it asks for, and fit each other."""
    if epochs is None and steps is None and seconds is None:
        raise ValueError("say for how long to train: pass epochs=, steps= or seconds=")
    if seconds is not None and not (is_number(seconds) and seconds > 0):
        raise ValueError(f"seconds must be a number above 0, not {seconds!r}")
    for name, number in (("epochs", epochs), ("steps", steps)):
        if number is not None:
            not_negative(**{name: number})
    if patience is not None:
        positive(patience=patience)
    if key is not None and not isinstance(key, jax.Array):
        raise ValueError(f"key must be one of jax.random.key(…), not {key!r}")
    for rule in rules:
        if not callable(rule):
            raise ValueError(f"on_evaluation takes rules such as halve(), not {rule!r}")
    if key is None and params is None:
        raise ValueError("initial parameters are drawn from a key: pass key= or params=")
    if validation is None and (rules or patience is not None):
        raise ValueError("on_evaluation and patience go by the validation loss: pass validation=")
    if callable(validation) and validation_loss is not None:
        raise ValueError(
            "validation= is a function, whose value is the loss already: leave out validation_loss="
        )
    if validation is not None and not callable(validation):
        check_batches(validation)


def check_batches(data: Any) -> None:
    """Raise ValueError unless these are batches; those of what is fed are checked when read."""
    if not isinstance(data, Fed):
        check_data(data)


def epochs_of(data: Data) -> Callable[[int], tuple[Batches | Fed, int]]:
    """The batches of an epoch by its number, and how many of them are real."""
    if not callable(data):
        _check_some(data.count)
        return lambda number: (data, data.count)
    latest: dict[int, tuple[Batches | Fed, int]] = {}

    def epoch(number: int) -> tuple[Batches | Fed, int]:
        if number not in latest:
            found = data(number)
            batches = found[0] if isinstance(found, tuple) else found
            check_batches(batches)
            count = found[1] if isinstance(found, tuple) else batches.count
            _check_some(count)
            latest.clear()
            latest[number] = batches, count
        return latest[number]

    return epoch


def _check_some(count: int) -> None:
    if count < 1:
        raise ValueError("there is no batch to train on: give data with at least one")
