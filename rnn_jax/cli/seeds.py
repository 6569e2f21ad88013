"""``rnn-jax train --seeds``: the same training several times, and how much it varies."""

from __future__ import annotations

import dataclasses
import statistics
from datetime import datetime

from rnn_jax.cli.one_run import Extras, new, train_one
from rnn_jax.runs import TrainConfig
from rnn_jax.training.progress import perplexity_of

__all__ = ["spread", "train_seeds"]


def train_seeds(
    config: TrainConfig, count: int, out: str | None, force: bool, extras: Extras
) -> None:
    """Train with ``count`` seeds, a folder each, and print mean and spread."""
    if count < 1:
        raise ValueError(f"--seeds must be at least 1, not {count}")
    if config.seed + count > 2**32:
        raise ValueError(f"--seed {config.seed} leaves no {count} seeds below 2**32: lower it")
    base = out or f"runs/{datetime.now():%Y-%m-%d-%H%M%S}"
    best: list[float] = []
    last: list[float] = []
    folders: list[str] = []
    for seed in range(config.seed, config.seed + count):
        folder = f"{base}-seed-{seed}"
        print(f"\nseed {seed}, {len(folders) + 1} of {count}: {folder}\n")
        one = dataclasses.replace(config, seed=seed)
        with new(one, folder, force, extras) as made:
            train_one(*made, dataclasses.replace(extras, compare=False))
            losses = [row["loss"] for row in made[0].read_metrics()]
        best.append(min(losses))
        last.append(losses[-1])
        folders.append(folder)
    print(f"\n{count} seeds, loss in nats and perplexity of the mean loss:")
    print(f"  best  {spread(best)}")
    print(f"  last  {spread(last)}")
    print(f"\nbeside each other: rnn-jax compare {' '.join(folders)}")


def spread(losses: list[float]) -> str:
    """Mean, standard deviation and range of losses.

    Example:
      >>> spread([2.0, 2.1, 2.2])
      '2.1000 ± 0.1000 (2.0000 to 2.2000), perplexity 8.17'
      >>> spread([2.0])
      '2.0000, perplexity 7.39'
    """
    mean = statistics.mean(losses)
    shown = f"{mean:.4f}"
    if len(losses) > 1:
        shown += f" ± {statistics.stdev(losses):.4f} ({min(losses):.4f} to {max(losses):.4f})"
    return f"{shown}, perplexity {perplexity_of(mean):.2f}"
