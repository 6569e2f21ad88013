"""Training from the first step to the last: one function for notebooks and the command line."""

from __future__ import annotations

import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnn_jax.host.checks import positive
from rnn_jax.host.checksums import checksum, checksum_of_json
from rnn_jax.host.interrupts import interruptions
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.training.blocks import Block, make_block
from rnn_jax.training.checks import (
    check_model,
    check_optimizer,
    check_params,
    check_targets,
)
from rnn_jax.training.devices import AXIS, Devices, devices_of
from rnn_jax.training.evaluating import (
    Validation,
    cached,
    evaluation,
    is_cross_entropy,
    is_of_classes,
)
from rnn_jax.training.fed import Fed
from rnn_jax.training.feeding import Feeder
from rnn_jax.training.given import Data, check_batches, check_given, epochs_of
from rnn_jax.training.history import History
from rnn_jax.training.loop import SummableLoss
from rnn_jax.training.plan import Adapts, Plan, Position
from rnn_jax.training.processes import processes_of
from rnn_jax.training.progress import Listener, Tell, as_listener
from rnn_jax.training.resuming import best_of, fingerprint, opened, resumed
from rnn_jax.training.rules import Rule, set_learning_rate
from rnn_jax.training.session import train
from rnn_jax.training.step import Loss, TrainState, init_train_state, make_train_step
from rnn_jax.training.store import Store
from rnn_jax.truncation import Truncation, truncate
from rnn_jax.types import Array, Model, Params

__all__ = ["Diverged", "fit"]


def fit(
    model: Model,
    optimizer: optax.GradientTransformation,
    data: Data,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    key: Array | None = None,
    params: Params | Callable[[], Params] = None,
    loss: Loss = cross_entropy,
    summed: bool = False,
    stateful: bool = False,
    validation: Validation | None = None,
    validation_loss: SummableLoss | None = None,
    evaluate_every: int = 1,
    evaluate_every_steps: int | None = None,
    on_evaluation: Sequence[Rule] = (),
    patience: int | None = None,
    listeners: Sequence[Listener | Tell] = (),
    folder: str | os.PathLike[str] | Store | None = None,
    resume: bool = False,
    save_every: float = 120.0,
    keep: int = 2,
    skipped_limit: int = 10,
    learning_rate: float | None = None,
    adapt: Adapts | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> tuple[TrainState, History]:
    """Train a model for so many epochs, steps or seconds.

    Steps run in blocks, each one compiled call, as long as a second takes. A step whose loss or
    gradient is not finite changes nothing and is counted. Ctrl-C, SIGTERM and SIGHUP end the block
    at hand, and save; after the latter two SystemExit is raised. With a folder, a training that was
    stopped or killed at any moment and is resumed with the same arguments ends in the same bits as
    one that never was.

    Args:
      model: a `Model`, truncated or not; an `encoder_decoder`, whose batches have a ``source``.
      optimizer: any optax optimiser.
      data: what to train on, `Windows`, a `SentenceStream` or, where memory cannot hold it, `Fed`,
        the same in each epoch; or a function that gives that of an epoch, from its number (from 0)
        alone. It may add how many of the batches are real, so that all epochs have one shape.
      epochs: passes over the data.
      steps: training steps.
      seconds: time in training steps; evaluations, saving and compiling are not counted. Of epochs,
        steps and seconds, what is over first. A training that goes on counts what it had before by
        ``seconds``, and ends in the bits that the clock allows.
      key: of the initial parameters and of all noise.
      params: to begin with, copied, or a function that makes them, which saves the copy: what it
        gives is used up. Those of ``model.init`` by default.
      loss: as for `make_train_step`.
      summed: whether it is summed over a batch's tokens, and not their mean.
      stateful: whether each batch continues the one before it within an epoch, in ``data`` and in
        ``validation``.
      validation: what to evaluate on; or a function of the parameters, whose value is the loss that
        is to become low.
      validation_loss: as for `make_evaluate`; ``loss`` if it takes a ``reduction``, else
        `cross_entropy`. Not with a function.
      evaluate_every: epochs from one evaluation to the next.
      evaluate_every_steps: steps from one to the next, in place of epochs.
      on_evaluation: rules ``(losses, opt_state) -> opt_state``, called in turn after each with all
        losses so far, such as `halve`.
      patience: evaluations without a new lowest loss after which to stop.
      listeners: hear of progress about once a second, and of each row of metrics; or functions
        ``(row, params)``, called after each evaluation, such as one that samples from the model.
      folder: where to keep checkpoints, the latest and the best parameters, and the metrics; it is
        this process's alone meanwhile.
      resume: go on from the folder's checkpoint; begin where there is none.
      save_every: seconds between checkpoints within an epoch. Saving takes a hundredth of the time
        at the most.
      keep: how many checkpoints to keep.
      skipped_limit: stop after so many steps one after the other that were not finite.
      learning_rate: of a resumed training from here on.
      adapt: chooses a truncation for ``model``, again every so many steps.
      mesh: devices to train on, along one axis, ``data``, be they those of several processes. The
        rows of each batch are spread over them, so that they must divide its size; parameters are
        on every one. It changes nothing but the rounding of sums: a training goes on with any other
        number of devices or processes, or without a mesh. Where it is begun on a mesh, noise is
        drawn row by row, ever after.

    With the devices of several processes, each of them makes the same call; `joined` is how they
    begin. All of them have ``data`` and ``validation``, and copy their rows of it to their devices.
    Process 0 alone writes the folder and calls listeners; to resume, all must see it. A signal to
    any of them ends all.

    Returns:
      The state after the last step, and the history: ``rows``, one for each evaluation;
      ``best_params``, those of the lowest validation loss; and why it ``ended``, ``"done"``,
      ``"no better"``, ``"interrupted"``, or ``"diverged"``: then the state is the last good one.

    Raises:
      ValueError: neither epochs nor steps nor seconds, noise without a key, rules or patience
        without validation data; a mesh with other axes, or with devices that cannot share a batch
        evenly; a folder that is in use, holds a training already or that of another model or key,
        or one that cannot be written to.

    Example:
      >>> import jax, jax.numpy as jnp, optax, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> ids = jnp.arange(402) % 50
      >>> data = rnn_jax.training.consecutive(ids, batch_size=4, seq_length=10)
      >>> state, history = fit(
      ...     model, optax.adam(0.01), data, epochs=3, key=jax.random.key(0), validation=data
      ... )
      >>> [row["epoch"] for row in history.rows], int(state.step), history.ended
      ([0, 1, 2, 3], 30, 'done')
    """
    check_model(model)
    check_optimizer(optimizer)
    check_given(
        epochs, steps, seconds, key, params, validation, validation_loss, on_evaluation, patience
    )
    positive(evaluate_every=evaluate_every, keep=keep, skipped_limit=skipped_limit)
    if evaluate_every_steps is not None:
        positive(evaluate_every_steps=evaluate_every_steps)
    if not isinstance(save_every, int | float) or not save_every >= 0:
        raise ValueError(f"save_every must be seconds, at least 0, not {save_every}")
    if not callable(data):
        check_batches(data)
    at_first = None if key is None else jax.random.fold_in(key, 0)
    noise = None if key is None else jax.random.fold_in(key, 1)
    make: Any = params
    if params is None:
        assert at_first is not None
        make = partial(model.init, at_first)
    begin = make() if callable(make) else make
    check_params(begin)
    # What is handed in is not to be used up.
    begin = jax.tree.map(jnp.asarray if callable(make) else jnp.copy, begin)
    shapes = jax.eval_shape(lambda tree: tree, begin)
    if resume and folder is None:
        raise ValueError("resume=True goes on from a folder: pass folder=")
    devices = None if mesh is None else devices_of(mesh)
    processes = processes_of(mesh)
    epoch = epochs_of(data)
    check: Callable[..., None] | None = None
    if is_of_classes(loss):
        check = partial(check_targets, size=model.output_size)
        for name, batches in (("data", epoch(0)[0]), ("validation", validation)):
            if batches is not None:
                check(name, batches)  # of what is fed each piece, when it is read
    batch_shape = (epoch(0)[0].batch_size,) if stateful else None
    state = init_train_state(model, optimizer, begin, batch_shape=batch_shape)
    del begin  # the state's from here on
    if devices is not None:
        epoch = devices.epochs(epoch)
        epoch(0)
        state = devices.state(state)
    with (
        opened(folder, keep, processes, resume=resume) as store,
        Feeder(devices, check and partial(check, "data")) as feeder,
        interruptions() as interrupted,
    ):
        beside = Feeder(devices, check and partial(check, "validation"), beside=feeder)
        evaluate = evaluation(model, validation, validation_loss, loss, stateful, devices, beside)
        sample = None if callable(data) else data
        looks = isinstance(sample, Fed) and processes.led(folder is not None)
        if isinstance(sample, Fed):  # one takes a look at the file for all
            first = partial(feeder.first, sample)
            sample = processes.alike(first if looks and processes.leads else lambda: None)
        began_with = fingerprint(noise, sample)
        if looks:
            began_with["data"] = processes.said(began_with.get("data", ""))
        position, history = Position(by_row=devices is not None), History([])
        if processes.count > 1:
            lengths = (epochs, steps, seconds, evaluate_every, evaluate_every_steps, patience)
            leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state.params)]
            processes.check_same("key= or data", checksum_of_json(began_with))
            processes.check_same("how long to train or when to evaluate", checksum_of_json(lengths))
            processes.check_same("the parameters to begin with", checksum(*leaves))
        if processes.led(processes.alike(partial(_goes_on, store, resume))):
            state, position, history = resumed(store, state, began_with, evaluate, processes)
            for name, wanted, done in (
                ("epochs", epochs, position.epoch),
                ("steps", steps, position.step),
            ):
                if wanted is not None and wanted < done:
                    raise ValueError(
                        f"{name}={wanted} is less than the {done} that the training in "
                        f"{folder if store is None else store.path} has done: ask for more, or "
                        "choose another folder"
                    )
        if learning_rate is not None and learning_rate != position.rate_given:
            position.rate_given = learning_rate  # once, whenever the training goes on again
            changed = set_learning_rate(state.opt_state, learning_rate)
            state = state._replace(opt_state=changed)
        plan = Plan(
            epoch=epoch,
            piece=feeder.piece,
            block=partial(
                cached,
                _block,
                model,
                optimizer,
                loss,
                summed,
                skipped_limit,
                devices,
                position.by_row,
            ),
            evaluate=evaluate,
            initial_carry=partial(model.initial_carry, batch_shape) if batch_shape else None,
            key=noise,
            epochs=epochs,
            steps=steps,
            seconds=None if seconds == math.inf else seconds,
            evaluate_every=evaluate_every,
            evaluate_every_steps=evaluate_every_steps,
            rules=tuple(on_evaluation),
            patience=patience,
            limit=skipped_limit,
            listeners=tuple(map(as_listener, listeners)) if processes.leads else (),
            store=store,
            save_every=save_every,
            stop=lambda: interrupted() is not None,
            adapt=adapt,
            perplexed=not callable(validation) and is_cross_entropy(validation_loss or loss),
            trains_perplexity=is_cross_entropy(loss),
            began_with=began_with,
            processes=processes,
        )
        state, failure = train(plan, state, position, history)
        if history.best_params is None and store is not None:
            history.best_params = best_of(store, shapes)
        history.best_params = jax.tree.map(jnp.asarray, history.best_params)
    signum = int(processes.most(interrupted() or 0)) or None
    if failure is not None:
        raise failure
    history.interrupted = signum is not None
    if history.ended == "diverged":
        warnings.warn(
            f"{skipped_limit} steps in a row had a loss or gradient that is not finite, or the "
            f"evaluated loss is not: what comes back is the state after step {int(state.step)}",
            Diverged,
            stacklevel=2,
        )
    if signum is not None and signum != signal.SIGINT:
        sys.exit(128 + signum)
    return state, history


def _goes_on(store: Store | None, resume: bool) -> bool:
    """Whether there is a training to go on with."""
    holds = store is not None and store.holds_checkpoint
    if store is not None and holds and not resume:
        raise ValueError(
            f"{store.path} holds a training already: go on with resume=True, or choose another "
            "folder"
        )
    return holds


class Diverged(UserWarning):
    """Training has come to a state from which no step is finite."""


def _new_block(
    model: Model,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    summed: bool,
    limit: int,
    devices: Devices | None,
    by_row: bool,
    truncation: Truncation | None,
) -> Block:
    """The steps of a truncation; cached, so that a training that goes on compiles nothing anew."""
    shortened = model if truncation is None else truncate(model, truncation)
    step = make_train_step(
        shortened,
        optimizer,
        loss=loss,
        noise="by row" if by_row else True,
        skip_nonfinite=True,
        axis_name=AXIS if devices is not None and devices.count > 1 else None,
        summed=summed,
    )
    return make_block(step, summed=summed, limit=limit, devices=devices)


_block = lru_cache(maxsize=8)(_new_block)
