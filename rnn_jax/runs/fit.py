"""Training of a run: `rnn_jax.fit` as its configuration says, in its folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import jax
from jax.sharding import Mesh

import rnn_jax
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.runs.adaptive import Adaptive
from rnn_jax.runs.config import evaluation_rules, make_optimizer, training_loss, truncated
from rnn_jax.runs.data import RunData
from rnn_jax.runs.folder import RunFolder
from rnn_jax.training import Diverged, Listener, make_evaluate
from rnn_jax.types import Model, Params

__all__ = ["evaluator", "fit"]


def fit(
    folder: RunFolder | None,
    data: RunData,
    *listeners: Listener,
    resume: bool = False,
    learning_rate: float | None = None,
    params: Params | Callable[[], Params] = None,
    mesh: Mesh | None = None,
) -> str:
    """Train as the configuration says; metrics, checkpoints and parameters go into the folder.

    Args:
      folder: where the run is kept; None in processes that do not need it, all but the first.
      data: what it reads.
      listeners: hear how it goes.
      resume: begin from the checkpoint in the folder; from the start if the run was stopped before
        there was one.
      learning_rate: of a resumed run from here on; None keeps the one it had.
      params: to begin with, or a function that makes them; None for the run's own.
      mesh: devices to spread batches over, as `rnn_jax.fit` takes it.

    Returns:
      Why it ended: ``"done"``; ``"no better"``, by ``early_stop``; ``"interrupted"``, after Ctrl-C,
      SIGTERM or SIGHUP.

    Raises:
      ValueError: no step is finite any more, or there is nothing to resume.
    """
    config, model = data.config, data.model
    store = None if folder is None else folder.store()
    # That of the settings, too: a run may have been killed before it was told of a new one.
    rate = config.lr if learning_rate is None else learning_rate
    try:
        if resume and folder and store and folder.trained and not store.holds_checkpoint:
            store.load(None)  # says what is missing
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Diverged)  # an error below
            _, history = rnn_jax.fit(
                model if config.bias_bound is not None else truncated(config, model),
                make_optimizer(config, data.steps_per_epoch),
                data.epoch,
                epochs=config.epochs,
                steps=config.steps,
                key=jax.random.key(config.seed),
                params=(lambda: data.initial_parameters) if params is None else params,
                loss=training_loss(config),
                summed=config.in_sentences,
                stateful=config.stateful,
                validation=data.evaluation,
                validation_loss=cross_entropy,
                evaluate_every=config.evaluate_every or 1,
                evaluate_every_steps=config.evaluate_every_steps,
                patience=config.early_stop,
                save_every=config.save_every,
                on_evaluation=evaluation_rules(config),
                listeners=listeners,
                folder=store,
                resume=resume,
                # A schedule already has the new one.
                learning_rate=None if config.scheduled else rate,
                adapt=None if config.bias_bound is None else Adaptive(model, config.bias_bound),
                mesh=mesh,
            )
    except SystemExit:  # after SIGTERM or SIGHUP: saved, and the command has more to say
        return "interrupted"
    finally:
        if store is not None:
            store.close()
    if history.ended == "diverged":
        clip = "--clip" if config.clip else "clip the gradient with --clip 1"
        kept = None if folder is None else folder.steps
        raise ValueError(
            f"the loss is no longer finite at step {history.step}: lower --lr or {clip}"
            + (f"; {folder and folder.path} keeps the state after step {kept}" if kept else "")
        )
    return history.ended


def evaluator(model: Model) -> Callable[[Params, RunData], tuple[float, int]]:
    """The mean loss in nats on a run's evaluation text, and its number of tokens."""
    totals = make_evaluate(model)

    def loss(params: Params, data: RunData) -> tuple[float, int]:
        batches, carry = data.evaluation, None
        if data.config.stateful:
            carry = model.initial_carry((batches.batch_size,), params)
        nats, tokens = totals(params, batches, carry)
        return float(nats) / int(tokens), int(tokens)

    return loss
