"""The optimiser, the loss, and what happens after an evaluation, as a configuration says."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import optax

from rnn_jax.losses.cross_entropy import Reduction, cross_entropy
from rnn_jax.runs.settings import TrainConfig
from rnn_jax.training import lazy, schedules, sgd
from rnn_jax.training.averaging import asgd, ema
from rnn_jax.training.rules import Rule, halve, plateau, start_averaging
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
      ValueError: it has, and does not; or the warm-up leaves no step of the training.
    """
    rate = _learning_rate(config, steps_per_epoch)
    optimizer: optax.GradientTransformation
    if config.optimizer == "sgd" and not (config.momentum or config.weight_decay):
        optimizer = sgd(rate, clip=config.clip or None)
    else:
        optimizer = optax.inject_hyperparams(partial(_chain, config))(learning_rate=rate)
    if config.lazy:
        return lazy(optimizer)
    kind, number = config.averaging
    if kind == "ema":
        optimizer = ema(optimizer, number)
    elif kind == "asgd":
        optimizer = asgd(optimizer)
    if config.accumulate == 1:
        return optimizer
    # As one large batch: means are averaged, sums are added.
    together = optax.MultiSteps(
        optimizer, config.accumulate, use_grad_mean=not config.in_sentences
    ).gradient_transformation()
    return optax.GradientTransformationExtraArgs(*together)


def _chain(config: TrainConfig, learning_rate: Any) -> optax.GradientTransformation:
    """Clipping, decay and the optimiser itself."""
    options: dict[str, float] = {}
    if config.momentum:
        options["momentum"] = config.momentum
    if config.optimizer == "adamw" and config.weight_decay is not None:
        options["weight_decay"] = config.weight_decay
    clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
    last = getattr(optax, config.optimizer)(learning_rate, **options)
    if config.optimizer == "adamw" or not config.weight_decay:
        return optax.chain(clip, last)
    return optax.chain(clip, optax.add_decayed_weights(config.weight_decay), last)


def _learning_rate(config: TrainConfig, steps_per_epoch: float | None) -> float | optax.Schedule:
    """The learning rate, or what it is after so many updates."""
    rate, least, kind = config.learning_rate, config.min_lr, config.schedule
    if not config.scheduled:
        return rate
    if steps_per_epoch is None:
        raise ValueError(f"--schedule {kind} counts epochs: pass steps_per_epoch=")
    updates = steps_per_epoch / config.accumulate  # of one epoch
    warmup = math.ceil(config.warmup * updates)
    if kind == "constant":
        return schedules.constant(rate, warmup=warmup)
    if kind == "cosine":
        by_epochs = (config.epochs or 0) * updates
        all_updates = by_epochs if config.steps is None else config.steps / config.accumulate
        whole = max(1, round(all_updates))
        if warmup >= whole:
            raise ValueError(
                f"--warmup {config.warmup:g} takes {warmup} of the {whole} updates of the whole "
                "training: shorten it, or train longer"
            )
        return schedules.cosine(rate, steps=whole, warmup=warmup, least=least)
    make = schedules.step if kind == "step" else schedules.exponential
    every = max(1, round(config.decay_every * updates))
    return make(rate, every=every, factor=config.decay_factor, warmup=warmup, least=least)


def evaluation_rules(config: TrainConfig) -> tuple[Rule, ...]:
    """What is done to the optimiser's state after each evaluation."""
    rules: list[Rule] = []
    if config.schedule == "halve":
        rules.append(halve())
    if config.schedule == "plateau":
        factor, patience = config.decay_factor, config.plateau_patience
        rules.append(plateau(factor, patience, min_rate=config.min_lr))
    kind, number = config.averaging
    if kind == "asgd":
        rules.append(start_averaging(int(number)))
    return tuple(rules)


def training_loss(config: TrainConfig) -> Loss:
    """What training minimises: summed over sentences, averaged over windows."""
    reduction: Reduction = "sum" if config.in_sentences else "mean"
    loss = partial(cross_entropy, reduction=reduction)
    smoothing = config.label_smoothing
    return partial(loss, label_smoothing=smoothing) if smoothing else loss
