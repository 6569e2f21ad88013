"""`rnn_jax.fit` as recipes call it: what ends a training before its time ends the recipe, too."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import optax

import rnn_jax
from rnn_jax.host.files import Row
from rnn_jax.training import Diverged, History, Listener, TrainState
from rnn_jax.training.given import Data
from rnn_jax.training.progress import Tell
from rnn_jax.types import Model, Params

__all__ = ["fit"]


def fit(
    model: Model,
    optimizer: optax.GradientTransformation,
    data: Data,
    *,
    listeners: Sequence[Listener | Tell] = (),
    **options: Any,
) -> tuple[TrainState, History]:
    """Train to the end; steps that were left out are told.

    Raises:
      KeyboardInterrupt: a signal stopped it; a recipe has no folder to resume from, and its next
        model is not wanted either.
      ValueError: no step, or no evaluated loss, is finite any more.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Diverged)  # an error below
            state, history = rnn_jax.fit(
                model, optimizer, data, listeners=[_watch, *listeners], **options
            )
    except SystemExit:  # SIGTERM, SIGHUP
        raise KeyboardInterrupt from None
    if history.ended == "diverged":
        raise _diverged(history.step)
    if history.interrupted:
        raise KeyboardInterrupt
    return state, history


def _watch(row: Row, params: Params) -> None:
    """Say what was left out of an epoch; all of it is a training that diverges."""
    if row["skipped"]:
        print(
            "  steps left out since the last row, whose loss or gradient was not finite: "
            f"{row['skipped']}",
            flush=True,
        )
    if row["step"] and row["train_loss"] is None:
        raise _diverged(row["step"])


def _diverged(step: int) -> ValueError:
    return ValueError(
        f"the training diverges: its loss or gradients are not finite any more at step {step}; try "
        "another --seed, or a lower rate where the recipe takes one"
    )
