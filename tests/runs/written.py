"""Folders of runs as training writes them, made without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax

from rnn_jax import runs
from rnn_jax.host.checksums import sealed
from rnn_jax.text import Vocabulary

VOCABULARY = Vocabulary(("<unk>", " ", "e", "t", "a"), 0)
SIZES: dict[str, Any] = {"level": "char", "cell": "tanh", "hidden_size": 2, "embedding_size": 0}


def row(epoch: float, loss: float, *, step: int | None = None, **more: Any) -> dict[str, Any]:
    """A row of metrics: 10 steps of 100 tokens an epoch, one epoch a minute from 12:00 on."""
    return {
        "epoch": epoch,
        "step": round(10 * epoch) if step is None else step,
        "tokens": round(1000 * epoch),
        "train_loss": None if epoch == 0 else loss - 0.1,
        "loss": loss,
        "perplexity": 2.718281828459045**loss,
        "tokens_per_second": 0 if epoch == 0 else 500,
        "learning_rate": 0.01,
        "time": f"2026-11-28 12:{int(epoch):02}:00",
        **more,
    }


def write(
    path: Path, losses: list[float], *, vocabulary: Vocabulary = VOCABULARY, **settings: Any
) -> Path:
    """A run with one evaluation an epoch, the first before training."""
    config = runs.TrainConfig(**{**SIZES, "epochs": len(losses) - 1, **settings})
    folder = runs.create_folder(str(path))
    folder.save_settings(config, vocabulary, "the text's hash", "a text")
    rows = [json.dumps(sealed(row(epoch, loss))) for epoch, loss in enumerate(losses)]
    folder.write_text("metrics.jsonl", "".join(f"{line}\n" for line in rows))
    params = folder.model.init(jax.random.key(0))
    folder.save_parameters(params)
    folder.save_parameters(params, best=True)
    return path
