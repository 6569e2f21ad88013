"""Runs that start anew where a document begins, and texts in other languages than English."""

from __future__ import annotations

import csv
import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax
from rnn_jax import runs, text
from rnn_jax.cli import main
from rnn_jax.runs.data import prepare
from rnn_jax.runs.sentences import SentenceRange
from rnn_jax.runs.streams import Stream
from tests.runs.test_runs import SMALL, Silent, start

ROWS = ["Red rose. Blue sky, one two.", "...", "Cat, dog. Sun!", "Moon and Star.", "Yes. No. Who?"]
READINGS: dict[str, dict[str, Any]] = {
    "characters": {"level": "char"},
    "letters": {"level": "char", "letters_only": True},
    "glued letters": {"level": "char", "letters_only": True, "glue_lines": True},
    "words": {"letters_only": True},
    "sentences": {},
}


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["body"], *([row] for row in ROWS * 6)])
    return str(path)


def settings(corpus: str, **more: Any) -> dict[str, Any]:
    return SMALL | {"corpus": corpus, "seq_length": 5, "reset_at_documents": True} | more


def first_words(config: runs.TrainConfig) -> list[str]:
    """The first token of each document that has any."""
    rows = [row for row in ROWS * 6 if not config.letters_only or row != "..."]
    if config.level == "word" and config.from_sentences:
        return [text.SENTENCE_START] * len(rows)
    words = [text.normalize_letters(row) if config.letters_only else row for row in rows]
    return [row.split()[0] if config.level == "word" else row[0] for row in words]


@pytest.mark.parametrize("held_out", [0.0, 0.3])
@pytest.mark.parametrize("reading", READINGS)
def test_documents_begin_at_the_texts(corpus: str, reading: str, held_out: float) -> None:
    config = runs.TrainConfig(**settings(corpus, held_out=held_out, **READINGS[reading]))
    data = prepare(config)
    assert isinstance(data.training, Stream)
    begins = data.training.begins()
    assert data.documents == begins.sum() and len(begins) == len(data.training)
    seen = data.vocabulary.decode(data.training.read()[begins])
    assert isinstance(data.evaluation, rnn_jax.Windows) and data.evaluation.resets is not None
    # In the order of the text: windows follow each other along rows.
    order = [np.asarray(part).transpose(2, 0, 1).reshape(-1) for part in (
        data.evaluation.inputs, data.evaluation.resets)]  # fmt: skip
    evaluated = data.vocabulary.decode(order[0][order[1]])
    expected = first_words(config)
    if held_out:
        assert seen + evaluated == expected and len(evaluated) > 3
    else:
        assert seen == evaluated == expected


@pytest.mark.parametrize("batching", ["sequential", "random"])
def test_an_epoch_resets_where_documents_begin(corpus: str, batching: str) -> None:
    config = runs.TrainConfig(
        **settings(corpus, level="char", batching=batching, batch_size=2, held_out=0.0)
    )
    data = prepare(config)
    for number in range(3):
        windows, count = data.epoch(number)
        assert isinstance(windows, rnn_jax.Windows) and windows.resets is not None
        assert windows.resets.shape == windows.inputs.shape
        # Each row ends in a line's end, after which the next one begins.
        inputs = np.asarray(windows.inputs)[:count]
        tokens = np.array(data.vocabulary.tokens)
        ended = tokens[inputs[:, :-1]] == "\n"
        np.testing.assert_array_equal(np.asarray(windows.resets)[:count, 1:], ended)
        assert not windows.resets[count:].any()


def test_a_run_resets_in_training_and_evaluation(tmp_path: Path, corpus: str) -> None:
    options = settings(corpus, level="char", held_out=0.3, epochs=2)
    folder, data = start(tmp_path / "run", **options)
    assert runs.fit(folder, data, Silent()) == "done"
    params = folder.load_parameters()
    evaluation, model = data.evaluation, data.model
    assert isinstance(evaluation, rnn_jax.Windows)
    loss, tokens = runs.evaluator(model)(params, data)
    assert folder.read_metrics()[-1]["loss"] == loss

    # The definition: each document, or what a row holds of it, from the initial state.
    documents = text.read_documents(corpus).texts
    stream = data.vocabulary.encode("\n".join(documents))
    held = stream[len(data.training) :]
    rows = evaluation.batch_size
    starts = np.cumsum([0, *(len(document) + 1 for document in documents)])[:-1]
    cuts = {int(i) - len(data.training) for i in starts if i >= len(data.training)}
    cuts |= set(((len(held) - 1) * np.arange(rows) // rows).tolist())
    nats = 0.0
    for begin, end in pairwise([*sorted(cuts), len(held) - 1]):
        part = jnp.asarray(held[begin : end + 1])
        logits = model.apply(params, None, part[:-1])[1]
        nats += float(rnn_jax.cross_entropy(logits, part[1:], reduction="sum"))
    assert tokens == len(held) - 1
    assert loss == pytest.approx(nats / tokens, rel=1e-5)

    other, plain = start(tmp_path / "plain", **options | {"reset_at_documents": False})
    assert plain.documents is None
    assert runs.fit(other, plain, Silent()) == "done"
    pairs = zip(*(jax.tree.leaves(f.load_parameters()) for f in (folder, other)), strict=True)
    assert not all(np.array_equal(a, b) for a, b in pairs)


def test_a_paused_run_goes_on_with_its_resets(tmp_path: Path, corpus: str) -> None:
    options = settings(corpus, level="char", held_out=0.3, epochs=3, dropout=0.1)
    whole, data = start(tmp_path / "whole", **options)
    assert runs.fit(whole, data, Silent()) == "done"
    parts, data = start(tmp_path / "parts", **options)
    assert runs.fit(parts, data, Silent(interrupt_at=2)) == "interrupted"
    assert runs.fit(parts, prepare(parts.config), Silent(), resume=True) == "done"
    for a, b in zip(*(jax.tree.leaves(f.load_parameters()) for f in (whole, parts)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_document_resets_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("One text. " * 60)
    data = prepare(runs.TrainConfig(**settings(str(path))))
    assert isinstance(data.training, Stream) and data.documents == 1
    assert np.flatnonzero(data.training.begins()).tolist() == [0]


def test_the_command_line_keeps_both_settings(
    tmp_path: Path, corpus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = shlex.split(
        "--epochs 1 --hidden-size 8 --embedding-size 6 --batch-size 4 --seq-length 5 --held-out 0"
    )
    out = str(tmp_path / "run")
    words = ["train", "--corpus", corpus, "--no-compare", *sizes, "--out", out]
    assert main([*words, "--reset-at-documents", "--language", "german"]) == 0
    assert "beginning the state starts anew: 30\n" in capsys.readouterr().out
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (config["reset_at_documents"], config["language"]) == (True, "german")
    assert main(["train", "--resume", out, "--epochs", "2", "--no-compare"]) == 0
    config = runs.open_folder(out).config
    assert (config.reset_at_documents, config.language, config.epochs) == (True, "german", 2)
    capsys.readouterr()
    assert main(["evaluate", out, "--json"]) == 0
    loss = json.loads(capsys.readouterr().out)["loss"]
    assert loss == pytest.approx(runs.open_folder(out).read_metrics()[-1]["loss"], rel=1e-6)
    for option in (["--no-reset-at-documents"], ["--language", "english"]):
        assert main(["train", "--resume", out, *option]) == 2
        assert "cannot change when a run goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--reset-at-documents", "--batching", "sentences"], "every sentence starts anew already"),
        (["--language", "klingon"], "--language must be one of czech, danish, dutch, english"),
        (["--language", "german", "--level", "char"], "not split into sentences: leave it out"),
        (["--language", "german", "--letters-only"], "not split into sentences: leave it out"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", "--corpus", "comments-sample", "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1 and not out.exists()


def test_the_language_splits_the_sentences(tmp_path: Path) -> None:
    path = tmp_path / "german.txt"
    path.write_text("Das kostet 3 Mio. Euro. Gut. " * 20)
    numbers = []
    for language in ("english", "german"):
        config = runs.TrainConfig(corpus=str(path), batching="sentences", language=language)
        training = prepare(config).training
        assert isinstance(training, SentenceRange)
        numbers.append(len(training))
    assert numbers == [54, 36]
