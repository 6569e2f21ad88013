"""The settings of a training run by subject, each a section of ``rnn-jax train --help``."""

from rnn_jax.runs.settings.batches import BatchSettings
from rnn_jax.runs.settings.config import BEFORE, TrainConfig
from rnn_jax.runs.settings.course import CourseSettings
from rnn_jax.runs.settings.model import ModelSettings
from rnn_jax.runs.settings.optimization import OptimizationSettings
from rnn_jax.runs.settings.text import TextSettings

__all__ = [
    "BEFORE",
    "BatchSettings",
    "CourseSettings",
    "ModelSettings",
    "OptimizationSettings",
    "TextSettings",
    "TrainConfig",
]
