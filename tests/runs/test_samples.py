"""Texts sampled from a run's model: how often it is asked."""

from __future__ import annotations

from typing import Any

import pytest

from rnn_jax import runs
from rnn_jax.generation import generate
from rnn_jax.text import SENTENCE_END


@pytest.mark.parametrize(
    ("bias", "large", "rounds"), [(-40.0, 0, 3), (-40.0, 10**6, 20), (40.0, 0, 20)]
)
def test_a_large_model_that_ends_no_sentence_is_not_asked_for_ever(
    monkeypatch: pytest.MonkeyPatch, bias: float, large: int, rounds: int
) -> None:
    """A bias of 40 ends every sentence before its first word: too short, so it is asked again."""
    config = runs.TrainConfig(
        corpus="comments-sample", max_sentences=60, hidden_size=8, embedding_size=6, seq_length=10
    )
    data = runs.prepare(config)
    params = {**data.initial_parameters}
    bias_vector = params["readout"]["b"].at[data.vocabulary.id(SENTENCE_END)].set(bias)
    params["readout"] = {**params["readout"], "b": bias_vector}
    turns = []

    def counted(*arguments: Any, **options: Any) -> Any:
        turns.append(options["key"])
        return generate(*arguments, **options)

    monkeypatch.setattr("rnn_jax.runs.samples.generate", counted)
    monkeypatch.setattr("rnn_jax.runs.samples._LARGE", large)
    texts = runs.sample_texts(data.model, params, data.vocabulary, config, length=9, count=2)
    assert len(turns) == rounds
    assert [line.endswith("…") for line in texts] == [bias < 0] * 2
