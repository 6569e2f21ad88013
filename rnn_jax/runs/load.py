"""A run's model, loaded for use."""

from __future__ import annotations

import os
from typing import NamedTuple

from rnn_jax.runs.config import TrainConfig
from rnn_jax.runs.create import open_folder
from rnn_jax.text import Vocabulary
from rnn_jax.types import Model, Params

__all__ = ["Run", "load_run"]


class Run(NamedTuple):
    """A trained language model with all that its use needs; `load_run` reads it from a folder.

    model: the model, not truncated.
    params: its parameters.
    vocabulary: the tokens that its ids stand for.
    config: the settings of its training, under the names of the command line's flags.
    """

    model: Model
    params: Params
    vocabulary: Vocabulary
    config: TrainConfig


def load_run(folder: str | os.PathLike[str], *, best: bool = False) -> Run:
    """The model of a run that ``rnn-jax train`` wrote, from its folder.

    Nothing is written, and the text that it was trained on is not needed. A run that is training
    now gives the parameters that it saved last.

    Args:
      folder: of the run.
      best: the parameters of the lowest evaluated loss, not the latest.

    Returns:
      A `Run`: ``model, params, vocabulary, config``, in the order in which
      ``rnn_jax.runs.sample_texts(*run, prefix="…")`` takes them.

    Raises:
      ValueError: it is not the folder of a run; or a file in it is missing or damaged, or of
        another model; or the parameters are not finite.

    Example:
      >>> load_run("no-such-folder")
      Traceback (most recent call last):
      ValueError: no-such-folder is not the folder of a run: give one that rnn-jax train wrote
    """
    opened = open_folder(os.fspath(folder))
    params = opened.load_parameters(best=best)
    return Run(opened.model, params, opened.vocabulary, opened.config)
