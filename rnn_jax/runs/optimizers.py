"""The optimiser, the loss, and what happens after an evaluation, as a configuration says."""

from __future__ import annotations

from functools import partial
from typing import Any

import optax

from rnn_jax.losses.cross_entropy import Reduction, cross_entropy
from rnn_jax.runs.rates import Rule, follows_a_schedule, halve, plateau, schedule_of, scheduled
from rnn_jax.runs.settings import TrainConfig
from rnn_jax.training import sgd
from rnn_jax.training.step import Loss

__all__ = ["evaluation_rules", "make_optimizer", "training_loss"]


def make_optimizer(
    config: TrainConfig, steps_per_epoch: float | None = None
) -> optax.GradientTransformation:
    """The optimiser of a configuration; its state holds the learning rate, under that name.

    Args:
      config: the configuration.
      steps_per_epoch: training steps of one epoch, which a schedule has to know.

    Raises:
      ValueError: it has, and does not.
    """
    optimizer = _base(config)
    if follows_a_schedule(config):
        if steps_per_epoch is None:
            raise ValueError(f"--schedule {config.schedule} counts epochs: pass steps_per_epoch=")
        optimizer = scheduled(optimizer, schedule_of(config, steps_per_epoch / config.accumulate))
    if config.accumulate == 1:
        return optimizer
    # As one large batch: means are averaged, sums are added.
    together = optax.MultiSteps(
        optimizer, config.accumulate, use_grad_mean=not config.in_sentences
    ).gradient_transformation()
    return optax.GradientTransformationExtraArgs(*together)


def _base(config: TrainConfig) -> optax.GradientTransformation:
    """The optimiser at a constant rate."""
    plain = not (config.clip or config.momentum or config.weight_decay)
    if config.optimizer == "sgd" and plain:
        return sgd(config.learning_rate)
    options: dict[str, float] = {}
    if config.momentum:
        options["momentum"] = config.momentum
    if config.optimizer == "adamw" and config.weight_decay is not None:
        options["weight_decay"] = config.weight_decay

    def chain(learning_rate: Any) -> optax.GradientTransformation:
        clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
        last = getattr(optax, config.optimizer)(learning_rate, **options)
        if config.optimizer == "adamw" or not config.weight_decay:
            return optax.chain(clip, last)
        return optax.chain(clip, optax.add_decayed_weights(config.weight_decay), last)

    return optax.inject_hyperparams(chain)(learning_rate=config.learning_rate)


def evaluation_rules(config: TrainConfig) -> tuple[Rule, ...]:
    """What is done to the optimiser's state after each evaluation."""
    if config.schedule == "halve":
        return (halve(config.min_lr),)
    if config.schedule == "plateau":
        return (plateau(config.plateau_patience, config.decay_factor, config.min_lr),)
    return ()


def training_loss(config: TrainConfig) -> Loss:
    """What training minimises: summed over sentences, averaged over windows."""
    reduction: Reduction = "sum" if config.in_sentences else "mean"
    return partial(cross_entropy, reduction=reduction)
