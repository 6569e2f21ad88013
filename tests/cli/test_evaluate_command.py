"""``rnn-jax evaluate RUN --corpus OTHER``, and a run that is loaded in Python."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax
from rnn_jax.cli import main
from rnn_jax.losses import chunked
from rnn_jax.runs import TrainConfig, create_folder, evaluate_text, prepare, sample_texts
from tests.cli.test_cli import refusal
from tests.runs.test_runs import SMALL

KINDS: dict[str, dict[str, Any]] = {
    "words": {},
    "cut words": {"vocab_size": 60},
    "sentences": {"batching": "sentences"},
    "characters": {"level": "char"},
    "letters": {"level": "char", "letters_only": True, "batching": "random"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Runs that were saved before their first step: any parameters will do."""
    root = tmp_path_factory.mktemp("evaluate")
    made = {}
    for kind, options in KINDS.items():
        data = prepare(TrainConfig(**SMALL, **options))
        folder = create_folder(str(root / kind))
        folder.save_settings(data.config, data.vocabulary, data.sha256, data.origin)
        folder.save_parameters(data.initial_parameters)
        folder.save_parameters(data.initial_parameters, best=True)
        made[kind] = str(folder.path)
    return made


def result(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["evaluate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def by_hand(run: rnn_jax.Run, ids: np.ndarray) -> np.ndarray:
    """float[N - 1]: the loss of each target of a text, read as one row."""
    carry = run.model.initial_carry((1,), run.params)
    _, logits = run.model.apply(run.params, carry, jnp.asarray(ids[:-1, None]))
    losses = rnn_jax.cross_entropy(logits, jnp.asarray(ids[1:, None]), reduction="none")
    return np.asarray(losses)[:, 0]


@pytest.mark.parametrize("kind", ["letters", "characters"])
def test_the_own_text_is_evaluated_as_without_naming_it(
    kind: str, folders: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = result(capsys, folders[kind])
    again = result(capsys, folders[kind], "--corpus", "comments-sample", "--held-out", "0.1")
    assert again["loss"] == pytest.approx(own["loss"], rel=1e-6)
    assert again["tokens"] == own["tokens"] and again["unknown"] == 0
    assert again["bits_per_character"] == pytest.approx(own["loss"] / math.log(2), rel=1e-6)
    whole = result(capsys, folders[kind], "--corpus", "comments-sample")
    assert 9 * own["tokens"] < whole["tokens"] < 11 * own["tokens"]


@pytest.mark.parametrize("in_chunks", [False, True])
def test_characters_nothing_was_learned_of_are_read_and_not_counted(
    in_chunks: bool,
    folders: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if in_chunks:  # as where logits are many
        for name, value in {"_FEW_LOGITS": 0, "_MANY_LOGITS": 0, "_CHUNK": 7}.items():
            monkeypatch.setattr(chunked, name, value)
    text = "So ☃ it☂ is ☃!"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    found = result(capsys, folders["characters"], "--corpus", str(tmp_path / "a.txt"))
    run = rnn_jax.load_run(folders["characters"])
    losses = by_hand(run, run.vocabulary.encode(text))
    known = np.array([character in run.vocabulary for character in text[1:]])
    assert (~known).sum() == found["unknown"] == 3 and not found["unknown_counts"]
    assert found["unknown_share"] == pytest.approx(3 / (len(text) - 1))
    assert found["tokens"] == known.sum() and found["unknown_examples"] == ["☃", "☂"]
    assert found["loss"] == pytest.approx(losses[known].mean(), rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert main(["evaluate", folders["characters"], "--corpus", str(tmp_path / "a.txt")]) == 0
    printed = capsys.readouterr().out
    assert "bits per character\nunknown to the model: 3 characters (23.08%), such as '☃'" in printed
    assert "left out of the loss" in printed


@pytest.mark.parametrize("kind, counts", [("cut words", True), ("words", False)])
def test_unknown_words_count_where_training_had_some(
    kind: str,
    counts: bool,
    folders: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.csv").write_text("body,other\nx,I like the zyzzyva .\n")
    path = str(tmp_path / "a.csv")
    found = result(capsys, folders[kind], "--corpus", path, "--column", "other")
    run = rnn_jax.load_run(folders[kind])
    words = ["SENTENCE_START", "i", "like", "the", "zyzzyva", ".", "SENTENCE_END"]
    ids = run.vocabulary.encode(words)
    wanted = ids[1:] != run.vocabulary.unknown
    assert found["unknown"] == (~wanted).sum() >= 1 and found["unknown_counts"] == counts
    losses = by_hand(run, ids)
    expected = losses if counts else losses[wanted]
    assert found["loss"] == pytest.approx(expected.mean(), rel=1e-5)
    assert found["tokens"] == len(expected) and found["bits_per_character"] is None


def test_sentences_are_evaluated_each_from_the_start(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("I like it . I do not like the zyzzyva .")
    found = result(capsys, folders["sentences"], "--corpus", str(tmp_path / "a.txt"))
    run = rnn_jax.load_run(folders["sentences"])
    losses = []
    for sentence in ("i like it .", "i do not like the zyzzyva ."):
        ids = run.vocabulary.encode(["SENTENCE_START", *sentence.split(), "SENTENCE_END"])
        losses += by_hand(run, ids)[ids[1:] != run.vocabulary.unknown].tolist()
    assert found["tokens"] == len(losses)
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_refusals(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "snow.txt").write_text("☃☃☃", encoding="utf-8")
    (tmp_path / "one.txt").write_text("a")
    for flag, value in (("--held-out", "0.1"), ("--column", "body")):
        assert f"{flag} is for another text" in refusal(
            capsys, "evaluate", folders["characters"], flag, value
        )
    for name, said in (("snow", "knows no token of"), ("one", "too few to evaluate on")):
        arguments = ["evaluate", folders["characters"], "--corpus", str(tmp_path / f"{name}.txt")]
        assert said in refusal(capsys, *arguments)
    arguments = ["evaluate", folders["characters"], "--corpus", str(tmp_path / "none.txt")]
    assert "none.txt does not exist" in refusal(capsys, *arguments)
    arguments = ["evaluate", folders["characters"], "--corpus", "comments-sample"]
    assert "--held-out must be" in refusal(capsys, *arguments, "--held-out", "1")


def test_a_loaded_run_is_ready_for_use(folders: dict[str, str], tmp_path: Path) -> None:
    run = rnn_jax.load_run(Path(folders["words"]), best=True)
    assert isinstance(run, rnn_jax.Run) and run.config.hidden_size == 8
    model, params, vocabulary, _ = run
    assert len(sample_texts(*run, prefix="i like", count=3)) == 3
    start = jnp.full((1, 2), vocabulary.id("SENTENCE_START"))
    _, drawn = rnn_jax.generate(model, params, None, start, length=4, key=jax.random.key(0))
    assert len(vocabulary.decode(np.asarray(drawn)[:, 0])) == 4
    (tmp_path / "a.txt").write_text("I like the weather .")
    assert evaluate_text(run, str(tmp_path / "a.txt")).tokens >= 4


def test_a_run_that_cannot_be_loaded_says_why(folders: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the folder of a run"):
        rnn_jax.load_run(tmp_path)
    for name in ("parameters.safetensors", "best.safetensors", "vocabulary.json"):
        copy = tmp_path / f"without {name}"
        shutil.copytree(folders["words"], copy)
        (copy / name).unlink()
        with pytest.raises(ValueError, match=name):
            rnn_jax.load_run(copy, best=name.startswith("best"))
    with pytest.raises(AttributeError, match="no attribute 'load_rum'"):
        _ = rnn_jax.load_rum
    assert {"load_run", "Run", "gru"} <= set(dir(rnn_jax))
