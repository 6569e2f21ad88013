"""`rnn_jax.fit` as recipes call it: what ends a training before its time ends the recipe, too."""

from __future__ import annotations

import warnings
from typing import Any

import optax

import rnn_jax
from rnn_jax.training import Diverged, History, TrainState
from rnn_jax.training.fit import Data
from rnn_jax.types import Model

__all__ = ["fit"]


def fit(
    model: Model, optimizer: optax.GradientTransformation, data: Data, **options: Any
) -> tuple[TrainState, History]:
    """Train to the end.

    Raises:
      KeyboardInterrupt: a signal stopped it; a recipe has no folder to resume from, and its next
        model is not wanted either.
      ValueError: no step, or no evaluated loss, is finite any more.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Diverged)
            state, history = rnn_jax.fit(model, optimizer, data, **options)
    except Diverged as error:
        raise ValueError(f"the training diverges: {error}; try another seed or rate") from None
    except SystemExit:  # SIGTERM, SIGHUP
        raise KeyboardInterrupt from None
    if history.ended == "interrupted":
        raise KeyboardInterrupt
    return state, history
