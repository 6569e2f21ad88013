"""``rnn-jax train``."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import jax
import typer

from rnn_jax.cli.options import with_options
from rnn_jax.cli.report import TrainingReport, parameter_summary, tokenizing
from rnn_jax.recipes.reference_step import compare_step_time
from rnn_jax.runs import (
    RunData,
    RunFolder,
    TrainConfig,
    check_bytes,
    check_memory,
    fit,
    new_folder,
    plot_loss,
    prepare,
    resumed_folder,
    sample_texts,
)

__all__ = ["train"]


# What may change when a run goes on; anything else would make it another run.
_RESUMABLE = ("epochs", "evaluate_every", "lr")


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
            help="Folder of a run to go on with; of its settings only --epochs, --evaluate-every "
            "and --lr may change."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace the run in --out.")] = False,
    compare: Annotated[
        bool, typer.Option(help="Close with the step time against the NumPy baseline.")
    ] = True,
) -> None:
    """Train a language model, sample from it, and time its step against the NumPy baseline."""
    if resume is not None and (out is not None or force):
        raise ValueError("--resume goes on in its own folder: leave out --out and --force")
    if (
        resume is None
        and config.glue_lines
        and not (config.letters_only and config.level == "char")
    ):
        # Not in the configuration, where runs of before the option have it.
        raise ValueError("--glue-lines is for --letters-only and --level char: leave it out")
    made = _new(config, out, force) if resume is None else _continued(resume, config, given)
    with made as (folder, data):
        rate = config.lr if resume is not None else None
        _run(folder, data, resume=resume is not None, rate=rate, compare=compare)


def _run(
    folder: RunFolder, data: RunData, *, resume: bool, rate: float | None, compare: bool
) -> None:
    config = data.config
    units = "characters'" if config.level == "char" else "words'"
    unigram = math.exp(data.unigram_loss)
    print(f"{data.origin}: {data.tokens:,} tokens to train on, vocabulary {len(data.vocabulary):,}")
    if data.left_out:
        print(f"{data.left_out:,} sentences of more than {config.max_length} tokens are left out")
    if data.begins is not None:
        print(f"documents at whose beginning the state starts anew: {data.begins.sum():,}")
    print(f"unigram perplexity {unigram:.1f}: what the {units} frequencies alone give\n")
    print(parameter_summary(data.initial_parameters))
    print(f"\nPython {platform.python_version()}, JAX {jax.__version__}, {jax.devices()[0]}\n")
    with TrainingReport() as report:
        finished = fit(folder, data, report, resume=resume, learning_rate=rate)
    rows = folder.read_metrics()
    plot_loss(folder, rows, data.unigram_loss)
    if not finished:
        if folder.steps:
            print(f"\nstopped and saved; to go on: rnn-jax train --resume {folder.path}")
        else:
            print("\nstopped before the first step: this run leaves nothing behind")
        raise typer.Exit(130)
    if rows:  # none is left where metrics.jsonl was damaged
        print(f"\nperplexity {rows[-1]['perplexity']:.1f}, unigram {unigram:.1f}\n")
    samples = sample_texts(
        data.model,
        folder.load_parameters(like=data.initial_parameters),
        data.vocabulary,
        config,
        seed=config.seed,
    )
    folder.write_text("samples.txt", "\n".join(samples) + "\n")
    print("\n".join(samples))
    if compare:
        print(f"\n{compare_step_time()}")
    print(f"\nthe run is in {folder.path}; more: rnn-jax sample {folder.path}")


@contextmanager
def _new(config: TrainConfig, out: str | None, force: bool) -> Iterator[tuple[RunFolder, RunData]]:
    # All that can fail for bad input comes before the folder: it leaves nothing, replaces nothing.
    with tokenizing() as progress:
        data = prepare(config, progress=progress)
    check_memory(data.model)
    check_bytes(data.batch_bytes, f"the logits of a batch of --batch-size {config.batch_size} take")
    _ = data.initial_parameters
    with new_folder(out, force=force) as folder:
        folder.save_settings(config, data.vocabulary, data.sha256, data.origin)
        yield folder, data


@contextmanager
def _continued(
    resume: str, config: TrainConfig, given: set[str]
) -> Iterator[tuple[RunFolder, RunData]]:
    other = sorted(given - set(_RESUMABLE))
    if other:
        raise ValueError(
            f"--{other[0].replace('_', '-')} cannot change when a run goes on: --resume keeps the "
            "run's settings, only --epochs, --evaluate-every and --lr may be set anew"
        )
    new = {name: getattr(config, name) for name in given}
    with resumed_folder(resume) as folder:
        kept = dataclasses.replace(folder.config, **new)
        done = max((row["epoch"] for row in folder.read_metrics()), default=0)
        if kept.epochs < done:
            raise ValueError(f"--epochs {kept.epochs} is below the {done} that {resume} has done")
        with tokenizing() as progress:
            data = prepare(kept, vocabulary=folder.existing_vocabulary, progress=progress)
        if data.sha256 != folder.corpus_sha256:
            raise ValueError(
                f"the text of --corpus {kept.corpus} has changed since {resume} was trained on it: "
                "restore that text, or begin a new run"
            )
        folder.save_settings(kept, data.vocabulary, data.sha256, data.origin)
        yield folder, data
