"""``rnn-jax train``."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from rnn_jax.cli.devices import mesh_of
from rnn_jax.cli.one_run import Extras, continued, new, train_one
from rnn_jax.cli.options import with_options
from rnn_jax.cli.runs import unusual
from rnn_jax.cli.seeds import train_seeds
from rnn_jax.cli.tokenize import PROCESSES, worker_count
from rnn_jax.runs import TrainConfig, latest_folder, open_folder

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
    compare: Annotated[
        bool, typer.Option(help="Close with the step time against the NumPy baseline.")
    ] = True,
) -> None:
    """Train a language model, sample from it, and time its step against the NumPy baseline."""
    extras = Extras(
        compare=compare,
        tensorboard=tensorboard,
        devices=devices,
        processes=worker_count(processes),
    )
    if resume is not None:
        if out is not None or force:
            raise ValueError("--resume goes on in its own folder: leave out --out and --force")
        if seeds != 1:
            raise ValueError(
                "--seeds makes new runs: leave it out, and go on with the folder of one of them"
            )
        folder = str(latest_folder(Path("runs"))) if resume == "latest" else resume
        if resume == "latest":
            print(f"going on with {folder}")
        anew = {name: getattr(config, name) for name in given}
        with continued(folder, anew, extras) as made:
            rate = config.lr if "lr" in given else None
            train_one(*made, extras, resume=True, rate=rate)
        return
    if config.init_from is not None:
        config = _initialised(config, given)
    mesh_of(devices, config.batch_size)  # before there is a folder
    if seeds != 1:
        train_seeds(config, seeds, out, force, extras)
        return
    with new(config, out, force, extras) as made:
        train_one(*made, extras)


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
