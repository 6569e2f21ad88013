"""The optimiser, the loss, and what happens after an evaluation, as a configuration says."""

from __future__ import annotations

from functools import partial
from typing import Any

import optax

from rnn_jax.losses.cross_entropy import Reduction, cross_entropy
from rnn_jax.runs.settings import TrainConfig
from rnn_jax.training import sgd

__all__ = ["evaluation_rules", "make_optimizer", "training_loss"]


def make_optimizer(
    config: TrainConfig, steps_per_epoch: float = 1.0
) -> optax.GradientTransformation:
    """The optimiser of a configuration; its state holds the learning rate."""
    if config.optimizer == "sgd" and not config.clip:
        return sgd(config.learning_rate)

    def chain(learning_rate: Any) -> optax.GradientTransformation:
        clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
        return optax.chain(clip, getattr(optax, config.optimizer)(learning_rate))

    return optax.inject_hyperparams(chain)(learning_rate=config.learning_rate)


def evaluation_rules(config: TrainConfig) -> tuple[Any, ...]:
    """The rules."""
    return ()


def training_loss(config: TrainConfig) -> Any:
    reduction: Reduction = "sum" if config.in_sentences else "mean"
    return partial(cross_entropy, reduction=reduction)
