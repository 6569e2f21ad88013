"""What the command line says beside the training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rnn_jax.cli.report import long_evaluation
from rnn_jax.runs import TrainConfig, prepare


def test_an_evaluation_that_lasts_is_told_with_what_shortens_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("to be or not to be " * 100)
    config = TrainConfig(corpus=str(tmp_path / "a.txt"), level="byte", batching="random")
    data = prepare(config)
    assert data.evaluated == 189 and long_evaluation(data) is None
    large = dataclasses.replace(data, tokens=900_000_000, evaluated=100_000_000)
    assert long_evaluation(large) == (
        "evaluating on 100,000,000 tokens, before the first step and each time after it; "
        "--held-out 0.001 takes less time"
    )
    other = dataclasses.replace(large, config=config.changed(held_out=0.0))
    assert "; --held-out 0.001 takes" in str(long_evaluation(other))
    other = dataclasses.replace(large, config=config.changed(held_out=None, valid="b.txt"))
    assert "; a shorter --valid takes" in str(long_evaluation(other))
