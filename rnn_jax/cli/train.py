"""``rnn-jax train``."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from rnn_jax.cli.devices import mesh_of
from rnn_jax.cli.one_run import (
    Extras,
    continued,
    data_again,
    data_of,
    follow_one,
    new,
    train_one,
)
from rnn_jax.cli.options import with_options
from rnn_jax.cli.processes import settings_of, together
from rnn_jax.cli.runs import unusual
from rnn_jax.cli.seeds import train_seeds
from rnn_jax.cli.tokenize import PROCESSES, check_processes
from rnn_jax.runs import TrainConfig, latest_folder, open_folder
from rnn_jax.training.joining import JOIN_WAIT

__all__ = ["train"]


@with_options(TrainConfig)
def train(
    config: TrainConfig,
    given: set[str],
    out: Annotated[
        str | None, typer.Option(help="Folder of the run; default: a new one under runs/.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Folder of a run to go on with, or latest, the last one under runs/; of its "
            "settings only its length, evaluations, checkpoints and --lr may change."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace the run in --out.")] = False,
    seeds: Annotated[
        int, typer.Option(help="Train so many times, with --seed and those after it.")
    ] = 1,
    tensorboard: Annotated[
        bool, typer.Option(help="Write metrics for TensorBoard into the folder, too.")
    ] = False,
    devices: Annotated[
        str | None,
        typer.Option(
            help="Devices to train on, a number or all: each takes its share of a batch's rows. "
            "The results are the same on any number, 1 included; without, noise is drawn "
            "otherwise. It may change when a run goes on."
        ),
    ] = None,
    processes: Annotated[int | None, typer.Option(help=PROCESSES)] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            help="Train together with other processes, which are started with the same options: "
            "HOST:PORT of process 0, or auto for what SLURM, Open MPI, Kubernetes or a Cloud TPU "
            "slice say."
        ),
    ] = None,
    num_processes: Annotated[
        int | None, typer.Option(help="How many processes there are; with HOST:PORT.")
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(help="The number of this one, from 0; with HOST:PORT.")
    ] = None,
    join_timeout: Annotated[
        float,
        typer.Option(
            help="Seconds within which all processes must have come; more on a cluster that starts "
            "them slowly."
        ),
    ] = JOIN_WAIT,
    compare: Annotated[
        bool, typer.Option(help="Close with the step time against the NumPy baseline.")
    ] = True,
) -> None:
    """Train a language model, sample from it, and time its step against the NumPy baseline."""
    check_processes(processes)
    extras = Extras(
        compare=compare,
        tensorboard=tensorboard,
        devices=devices,
        processes=processes,
    )
    settings = settings_of(config, given, devices, resume)
    with together(coordinator, num_processes, process_id, join_timeout, settings) as leads:
        if resume is not None:
            _go_on(config, given, resume, out is not None or force, seeds, extras, leads)
            return
        if config.init_from is not None:
            config = _initialised(config, given)
        mesh_of(devices, config.batch_size)  # before there is a folder
        if seeds != 1:
            if coordinator is not None:
                raise ValueError(
                    "--seeds trains one run after the other in one process: start each of them by "
                    "itself, with --seed"
                )
            train_seeds(config, seeds, out, force, extras)
        elif leads:
            with new(config, out, force, extras) as made:
                train_one(*made, extras)
        else:
            follow_one(None, data_of(config, extras), extras)


def _go_on(
    config: TrainConfig,
    given: set[str],
    resume: str,
    elsewhere: bool,
    seeds: int,
    extras: Extras,
    leads: bool,
) -> None:
    """Go on with a run."""
    if elsewhere:
        raise ValueError("--resume goes on in its own folder: leave out --out and --force")
    if seeds != 1:
        raise ValueError(
            "--seeds makes new runs: leave it out, and go on with the folder of one of them"
        )
    path = str(latest_folder(Path("runs"))) if resume == "latest" else resume
    if resume == "latest":
        print(f"going on with {path}")
    anew = {name: getattr(config, name) for name in given}
    rate = config.lr if "lr" in given else None
    if leads:
        with continued(path, anew, extras) as made:
            train_one(*made, extras, resume=True, rate=rate)
    else:
        folder = open_folder(path)
        follow_one(folder, data_again(folder, anew, extras), extras, resume=True, rate=rate)


def _initialised(config: TrainConfig, given: set[str]) -> TrainConfig:
    """The settings of the run to begin with, but for those that were given."""
    assert config.init_from is not None
    source = os.path.abspath(config.init_from)  # wherever the run goes on from
    before = open_folder(source).config
    if "vocab_size" in given and config.vocab_size != before.vocab_size:
        raise ValueError(
            f"--vocab-size {config.vocab_size} does not go with --init-from, whose vocabulary is "
            "taken over: leave it out"
        )
    anew = {name: getattr(config, name) for name in given} | {"init_from": source}
    changed = before.changed(**anew)
    taken = unusual(dataclasses.asdict(before), without=anew)
    others = "all else is at its default" if taken else "its settings, all at their defaults"
    print(f"taken over from {source}: {', '.join([*taken, others])}")
    return changed
