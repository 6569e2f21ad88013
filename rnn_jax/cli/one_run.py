"""One training of ``rnn-jax train``, from its text to its samples."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import typer
from jax.sharding import Mesh

from rnn_jax.cli.devices import mesh_of
from rnn_jax.cli.evaluate import on_another, said
from rnn_jax.cli.processes import OWN
from rnn_jax.cli.report import long_evaluation, parameter_summary, tokenizing
from rnn_jax.cli.table import json_safe
from rnn_jax.cli.texts import shown
from rnn_jax.host.checksums import checksum_of_json
from rnn_jax.host.files import atomic_path
from rnn_jax.interop.tensors import OtherTree
from rnn_jax.recipes.step_time import compare_step_time
from rnn_jax.runs import (
    Run,
    RunData,
    RunFolder,
    TrainConfig,
    check_bytes,
    check_memory,
    fit,
    new_folder,
    open_folder,
    plot_loss,
    prepare,
    resumed_folder,
    sample_texts,
)
from rnn_jax.runs.data import hash_of_test
from rnn_jax.runs.evaluation import unknown_is_trained
from rnn_jax.runs.tested import TEST
from rnn_jax.training.processes import processes_of
from rnn_jax.training.report import TrainingReport
from rnn_jax.training.store import CHECKPOINT
from rnn_jax.training.tensorboard import TensorBoard
from rnn_jax.types import Params

__all__ = ["Extras", "continued", "data_again", "data_of", "follow_one", "new", "train_one"]


# What may change when a run goes on; anything else would make it another run.
_RESUMABLE = (
    "epochs", "steps", "evaluate_every", "evaluate_every_steps", "early_stop", "save_every", "keep",
    "lr",
)  # fmt: skip


@dataclass(frozen=True)
class Extras:
    """What goes with a training without changing it.

    compare: whether to close with the time of a step.
    tensorboard: whether to write metrics for TensorBoard.
    devices: to train on, a number or "all"; None for the first one.
    processes: how many tokenise; None: as many as its level is worth.
    """

    compare: bool = True
    tensorboard: bool = False
    devices: str | None = None
    processes: int | None = 1


def train_one(
    folder: RunFolder,
    data: RunData,
    extras: Extras,
    *,
    resume: bool = False,
    rate: float | None = None,
) -> None:
    """Train, sample and time; ends with exit code 130 where a signal stops it."""
    config = data.config
    mesh = _mesh(data, extras)
    unigram = math.exp(data.unigram_loss)
    print(f"{data.origin}: {data.tokens:,} tokens to train on, vocabulary {len(data.vocabulary):,}")
    if data.left_out:
        print(f"{data.left_out:,} sentences of more than {config.max_length} tokens are left out")
    if data.documents is not None:
        print(f"documents at whose beginning the state starts anew: {data.documents:,}")
    if data.unknown and not unknown_is_trained(config, data.vocabulary):
        print(
            f"{data.unknown:,} {config.unit}s of --valid are not in the text that is trained on, "
            "and count as the unknown token, which nothing trains"
        )
    print(f"unigram perplexity {unigram:.1f}: what the {config.unit}s' frequencies alone give\n")
    begun = resume and (folder.path / CHECKPOINT).exists()
    before = folder.steps if begun else None
    if before is not None:
        print(f"goes on from step {before:,}{_dropped(folder, before)}\n")
    print(parameter_summary(data.parameter_shapes))
    print(f"\nPython {platform.python_version()}, JAX {jax.__version__}, {_shown(mesh)}\n")
    if not begun and (note := long_evaluation(data)):
        print(note, flush=True)
    with ExitStack() as stack:
        listeners: list[Any] = [stack.enter_context(TrainingReport())]
        if extras.tensorboard:
            listeners.append(stack.enter_context(TensorBoard(folder.path)))
        ended = fit(
            folder,
            data,
            *listeners,
            resume=resume,
            learning_rate=rate,
            params=None if begun else partial(_initial, data),
            mesh=mesh,
        )
    rows = folder.read_metrics()
    plot_loss(folder, rows, data.unigram_loss)
    if ended == "interrupted":
        if folder.steps:
            print(f"\nstopped and saved; to go on: rnn-jax train --resume {folder.path}")
        else:
            print("\nstopped before the first step: this run leaves nothing behind")
        raise typer.Exit(130)
    if ended == "done" and before is not None and folder.steps == before:
        print("\nnothing was left to train: for more, give a larger --epochs or --steps")
    if ended == "no better":
        print(f"\nstopped early, by --early-stop {config.early_stop}")
    if rows:  # none is left where metrics.jsonl was damaged
        print(f"\nperplexity {rows[-1]['perplexity']:.1f}, unigram {unigram:.1f}\n")
        best = min(rows, key=lambda row: row["loss"])
        if folder.has_best and best is not rows[-1]:
            print(
                f"the lowest loss was that at epoch {best['epoch']:.6g}, {best['loss']:.4f} nats; "
                "rnn-jax sample and evaluate read its parameters by --best\n"
            )
    if config.test is not None:
        _test(folder, data, extras)
    samples = sample_texts(
        data.model,
        folder.load_parameters(like=data.parameter_shapes),
        data.vocabulary,
        config,
        seed=config.seed,
    )
    folder.write_text("samples.txt", "\n".join(samples) + "\n")
    print(shown(samples))
    if extras.compare:
        print(f"\n{compare_step_time()}")
    print(f"\nthe run is in {folder.path}; more: rnn-jax sample {folder.path}")


def _dropped(folder: RunFolder, saved: int) -> str:
    """What a killed run has told of steps that it had not saved."""
    told = max((row["step"] for row in folder.read_metrics()), default=0)
    if told <= saved:
        return ""
    return f", its latest checkpoint; what was told of steps after it, up to {told:,}, is dropped"


def _save_settings(folder: RunFolder, data: RunData, test: str | None) -> None:
    folder.save_settings(
        data.config, data.vocabulary, data.sha256, data.origin, data.valid_sha256, test
    )


def _test_sha256(data: RunData, extras: Extras) -> str | None:
    """The hash of the text of ``--test``, which no process needs but the one that writes."""
    with tokenizing() as progress:
        return hash_of_test(data.config, data.vocabulary, extras.processes, progress)


def _test(folder: RunFolder, data: RunData, extras: Extras) -> None:
    """Evaluate on the text of ``--test``, print the figures and keep them in the folder."""
    assert data.config.test is not None
    params = folder.load_parameters(like=data.parameter_shapes, best=folder.has_best)
    run = Run(data.model, params, data.vocabulary, data.config)
    figures = on_another(run, data.config.test, processes=extras.processes)
    which = "best" if folder.has_best else "latest"
    print(f"test, by the {which} parameters: {said(figures)}\n")
    row = json_safe({**figures, "parameters": which})
    folder.write_text(TEST, json.dumps(row, ensure_ascii=False) + "\n")


def follow_one(
    folder: RunFolder | None,
    data: RunData,
    extras: Extras,
    *,
    resume: bool = False,
    rate: float | None = None,
) -> None:
    """What a process does that is not the first of a training: its share of the steps alone."""
    mesh = _mesh(data, extras)
    begun = resume and folder is not None and (folder.path / CHECKPOINT).exists()
    params = None if begun else partial(_initial, data)
    ended = fit(folder, data, resume=resume, learning_rate=rate, params=params, mesh=mesh)
    if ended == "interrupted":
        raise typer.Exit(130)


def _mesh(data: RunData, extras: Extras) -> Mesh | None:
    """The devices to train on; an error where other processes have another text."""
    mesh = mesh_of(extras.devices, data.config.batch_size)
    processes = processes_of(mesh)
    processes.check_same("the text of --corpus", data.sha256)
    processes.check_same("the text of --valid", data.valid_sha256 or "")
    vocabulary = [data.vocabulary.unknown, data.vocabulary.tokens]
    processes.check_same("its vocabulary", checksum_of_json(vocabulary))
    settings = {k: v for k, v in asdict(data.config).items() if k not in OWN}
    # The file of a vocabulary of subwords may be elsewhere; what it holds is compared above.
    settings["level"] = data.config.level.partition(":")[0]
    processes.check_same("its settings", checksum_of_json(settings))
    return mesh


def _shown(mesh: Mesh | None) -> str:
    """What a run trains on."""
    first = jax.devices()[0]
    if mesh is None or mesh.size == 1:
        return str(first)
    of = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{mesh.size} devices{of}, from {first} on"


def _initial(data: RunData) -> Params:
    """The parameters that a run begins with: its own, or the best of another run."""
    if data.config.init_from is None:
        return data.initial_parameters
    before = open_folder(data.config.init_from)
    try:
        return before.load_parameters(like=data.parameter_shapes, best=before.has_best)
    except OtherTree as error:
        raise ValueError(
            f"the parameters of --init-from {data.config.init_from} do not fit: leave out --cell, "
            f"--hidden-size and whatever else makes another model ({error})"
        ) from None


@contextmanager
def new(
    config: TrainConfig, out: str | None, force: bool, extras: Extras
) -> Iterator[tuple[RunFolder, RunData]]:
    """A new run: its folder, which is this process's alone within the block, and its data."""
    # All that can fail for bad input comes before the folder: it leaves nothing, replaces nothing.
    data = data_of(config, extras)
    test = _test_sha256(data, extras)
    with new_folder(out, force=force) as folder:
        _save_settings(folder, data, test)
        yield folder, data


def data_of(config: TrainConfig, extras: Extras) -> RunData:
    """What a new run reads, checked as far as it can be before there is a folder."""
    vocabulary = None if config.init_from is None else open_folder(config.init_from).vocabulary
    with tokenizing() as progress:
        data = prepare(config, vocabulary=vocabulary, processes=extras.processes, progress=progress)
    check_memory(data.model)
    check_bytes(data.batch_bytes, f"the logits of a batch of --batch-size {config.batch_size} take")
    if config.init_from is not None:
        _initial(data)  # which says what does not fit
    return data


@contextmanager
def continued(
    resume: str, anew: dict[str, Any], extras: Extras
) -> Iterator[tuple[RunFolder, RunData]]:
    """A run that goes on, with some settings set anew."""
    with resumed_folder(resume) as folder:
        data = data_again(folder, anew, extras)
        test = _test_sha256(data, extras)
        if folder.test_sha256 not in (None, test):
            raise _changed(f"--test {data.config.test}", folder)
        with _settings_kept(folder):
            _save_settings(folder, data, test)
            yield folder, data


@contextmanager
def _settings_kept(folder: RunFolder) -> Iterator[None]:
    """A run that turns out not to be able to go on has the settings again that it had."""
    file, before = folder.path / "config.json", folder.steps
    settings = file.read_bytes()
    try:
        yield
    except typer.Exit:  # it went on
        raise
    except BaseException:
        if folder.steps == before:
            with atomic_path(file) as temporary:
                temporary.write_bytes(settings)
        raise


def data_again(folder: RunFolder, anew: dict[str, Any], extras: Extras) -> RunData:
    """What a run reads that goes on, with some settings set anew."""
    before, given = folder.config, folder.config_as_given
    # A file of settings may hold all that the run has.
    other = sorted(
        name
        for name in anew.keys() - set(_RESUMABLE)
        if anew[name] not in (getattr(before, name), getattr(given, name))
    )
    if other:
        raise ValueError(
            f"--{other[0].replace('_', '-')} cannot change when a run goes on: --resume keeps "
            "the run's settings, only its length, evaluations, checkpoints and --lr may be set "
            "anew"
        )
    kept = before.changed(**{**anew, "level": before.level})
    rows = folder.read_metrics()
    done = max((math.floor(row["epoch"]) for row in rows), default=0)
    steps = max((row["step"] for row in rows), default=0)
    for name, wanted, reached in (("epochs", kept.epochs, done), ("steps", kept.steps, steps)):
        if wanted is not None and wanted < reached:
            raise ValueError(
                f"--{name} {wanted} is below the {reached} that {folder.path} has done"
            )
    with tokenizing() as progress:
        data = prepare(
            kept,
            vocabulary=folder.existing_vocabulary,
            processes=extras.processes,
            progress=progress,
        )
    for name, found, known in (
        (f"--corpus {kept.corpus_shown}", data.sha256, folder.corpus_sha256),
        (f"--valid {kept.valid}", data.valid_sha256, folder.valid_sha256),
    ):
        if found != known:
            raise _changed(name, folder)
    return data


def _changed(name: str, folder: RunFolder) -> ValueError:
    return ValueError(
        f"the text of {name} has changed since {folder.path} was begun: restore it, or begin "
        "a new run"
    )
