"""``--coordinator``: one training by several processes, of which the first prints and writes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from rnn_jax.host.options import flag
from rnn_jax.runs import TrainConfig
from rnn_jax.training.joining import joined

__all__ = ["OWN", "settings_of", "together"]

# How many tasks a launcher has started, of which this process is one.
_STARTED_BY = {"SLURM_STEP_NUM_TASKS": "SLURM", "OMPI_COMM_WORLD_SIZE": "Open MPI"}
# Where each process reads and writes; may differ from machine to machine.
OWN = ("init_from",)


def settings_of(
    config: TrainConfig, given: set[str], devices: str | None, resume: str | None
) -> dict[str, Any]:
    """What must not differ between the processes of a training, by the names of options."""
    settings = dataclasses.asdict(config)
    if resume is not None:
        settings = {name: settings[name] for name in given}
    settings |= {"resume": resume is not None, "devices": devices}
    return {flag(name): value for name, value in settings.items() if name not in OWN}


@contextmanager
def together(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    wait: float,
    settings: Mapping[str, Any],
) -> Iterator[bool]:
    """Join the other processes of a training, if there are to be any; whether this is the first.

    The others print nothing.

    Raises:
      ValueError: only some of the options, or what `joined` raises.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            given = "--num-processes" if num_processes is not None else "--process-id"
            raise ValueError(
                f"{given} goes with --coordinator HOST:PORT, the address of process 0: add it, and "
                "both numbers"
            )
        _warn_of_others()
        yield True
        return
    if not wait > 0:
        raise ValueError(f"--join-timeout must be seconds above 0, not {wait:g}")
    ended: typer.Exit | None = None
    with (
        joined(coordinator, num_processes, process_id, same=settings, wait=wait) as number,
        _silent(number != 0),
    ):
        try:
            yield number == 0
        except typer.Exit as error:  # an end on which all processes agree
            ended = error
    if ended is not None:
        raise ended


@contextmanager
def _silent(silent: bool) -> Iterator[None]:
    """Nothing on standard output."""
    with contextlib.ExitStack() as stack:
        if silent:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield


def _warn_of_others() -> None:
    """A line on standard error where this seems to be one of several processes."""
    for name, launcher in _STARTED_BY.items():
        count = os.environ.get(name, "1")
        if count.isdigit() and int(count) > 1:
            print(
                f"rnn-jax: one of the {count} processes that {launcher} has started, each of which "
                "trains by itself: say --coordinator auto to train together",
                file=sys.stderr,
            )
            return
