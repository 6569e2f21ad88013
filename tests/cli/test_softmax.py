"""``rnn-jax train --softmax``, and what reads such a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rnn_jax as r
from rnn_jax.cli import main


def test_runs_with_clusters_and_with_words_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("The cat saw a dog. It ran! Did the dog see it? A bird sang. " * 12)
    small = "--corpus a.txt --hidden-size 4 --embedding-size 4 --batch-size 2 --seq-length 5"
    small += " --epochs 1 --no-compare --bptt tail:3"
    assert main(["train", *small.split(), "--softmax", "adaptive:4,9", "--out", "runs/a"]) == 0
    assert main(["train", "--resume", "runs/a", "--epochs", "2", "--no-compare"]) == 0
    opened: Any = r.load_run("runs/a")
    assert opened.model.readout == r.adaptive_softmax([4, 9])
    assert main(["evaluate", "runs/a"]) == 0
    assert main(["sample", "runs/a", "--count", "1", "--length", "4"]) == 0
    Path("b.toml").write_text('softmax = "sampled:5"\n')
    assert main(["train", *small.split(), "--config", "b.toml", "--out", "runs/b"]) == 0
    opened = r.load_run("runs/b")
    assert opened.model.readout == r.sampled_softmax(5)
    capsys.readouterr()
    assert main(["runs"]) == 0
    shown = capsys.readouterr().out
    assert "adaptive:4,9" in shown and "sampled:5" in shown
