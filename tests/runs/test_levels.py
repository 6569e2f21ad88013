"""Bytes and subwords, token files, texts of one's own to evaluate and to test on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_jax import runs, text
from rnn_jax.cli import main
from rnn_jax.runs.data import prepare
from rnn_jax.runs.streams import Stream
from rnn_jax.runs.units import Units
from tests.cli.test_cli import refusal

SIZES = "--hidden-size 4 --embedding-size 4 --batch-size 2 --seq-length 5 --epochs 0 --no-compare"
TEXT = "Über den Dächern steht ein Mond. A cat and a dog ran on.\n" * 12


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a training, a validation and a test text."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(TEXT, encoding="utf-8")
    Path("b.txt").write_text("A dog and a cat. " * 9)
    Path("c.txt").write_text("A Mond and a cat ☃ ran. " * 5, encoding="utf-8")
    return tmp_path


def train(*arguments: str) -> dict[str, Any]:
    assert main(["train", *SIZES.split(), "--out", "run", *arguments]) == 0
    content: dict[str, Any] = json.loads(Path("run/config.json").read_text(encoding="utf-8"))
    return content


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main([*arguments]) == 0
    return capsys.readouterr().out


def test_bytes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("--corpus", "a.txt", "--level", "byte", "--max-tokens", "300")
    out = capsys.readouterr().out
    assert "vocabulary 256" in out and "what the bytes' frequencies alone give" in out
    folder = runs.open_folder("run")
    data = prepare(folder.config, vocabulary=folder.vocabulary)
    content = TEXT.encode()[:300]
    assert isinstance(data.training, Stream)
    assert bytes(data.training.read().tolist()) == content[:270]
    row = json.loads(said(capsys, "evaluate", "run", "--json"))
    assert row["unit"] == "byte" and row["bits_per_character"] is None
    assert row["bits_per_byte"] == pytest.approx(row["loss"] / np.log(2))
    drawn = said(capsys, "sample", "run", "--prefix", "Über", "--count", "2", "--length", "5")
    assert all(line.startswith("Über") for line in drawn.split("\n")[:1])
    # Another text in the same units: nothing of it is unknown.
    row = json.loads(said(capsys, "evaluate", "run", "--corpus", "c.txt", "--json"))
    assert row["unknown"] == 0 and row["tokens"] == len(Path("c.txt").read_bytes()) - 1
    assert "units" not in said(capsys, "runs", "run")


def test_subwords(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = pytest.importorskip("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save("own.json")
    content = train("--corpus", "a.txt", "--level", "file:own.json")
    assert content["config"]["level"] == f"file:{here / 'own.json'}"
    assert "what the subwords' frequencies" in capsys.readouterr().out
    assert (
        main(["tokenize", "--corpus", "a.txt", "--level", "file:own.json", "--out", "a.tokens"])
        == 0
    )
    # The run has a copy of its own, and may move.
    Path("own.json").unlink()
    shutil.move("run", "moved")
    own = json.loads(said(capsys, "evaluate", "moved", "--json"))
    assert own["unit"] == "subword" and own["bits_per_byte"] is own["bits_per_character"] is None
    row = json.loads(said(capsys, "evaluate", "moved", "--corpus", "a.tokens", "--json"))
    assert row["tokens"] == len(tokenizer.encode(TEXT).ids) - 1 and row["unknown_counts"]
    drawn = said(capsys, "sample", "moved", "--prefix", "Dächern", "--count", "1", "--length", "3")
    assert drawn.startswith("Dächern")
    assert said(capsys, "sample", "moved", "--count", "1", "--length", "3")
    folder = runs.open_folder("moved")
    units = Units(folder.config, folder.vocabulary)
    assert units.joined(units.tokens("ein Mond über")) == "ein Mond über"
    assert main(["train", "--resume", "moved", "--epochs", "0", "--no-compare"]) == 0
    again = json.loads(Path("moved/config.json").read_text(encoding="utf-8"))
    assert again["config"]["level"] == content["config"]["level"] and len(again["resumed"]) == 1
    Path("moved/tokenizer.json").write_text("{}")
    assert "tokenizer.json is damaged" in refusal(capsys, "sample", "moved")


def test_valid_and_test(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--corpus", "a.txt", "--level", "char", "--valid", "b.txt", "--test", "c.txt"]
    content = train(*arguments)
    out = capsys.readouterr().out
    assert (content["config"]["held_out"], content["config"]["valid"]) == (None, "b.txt")
    row = json.loads(Path("run/test.json").read_text(encoding="utf-8"))
    assert "test, by the best parameters: c.txt, " in out and row["parameters"] == "best"
    assert row["unknown"] == 5 and row["unknown_examples"] == ["☃"] and not row["unknown_counts"]
    folder = runs.open_folder("run")
    data = prepare(folder.config, vocabulary=folder.vocabulary)
    assert len(data.training) == len(TEXT) and data.unknown == 0
    assert data.vocabulary == text.character_corpus([TEXT], letters_only=False)[1]
    own = json.loads(said(capsys, "evaluate", "run", "--json"))
    assert own["part"] == "b.txt" and own["tokens"] == len(Path("b.txt").read_text()) - 1
    by_name = json.loads(said(capsys, "evaluate", "run", "--corpus", "b.txt", "--json"))
    assert by_name["loss"] == pytest.approx(own["loss"], rel=1e-6)
    # The test text is not needed for that, but to go on.
    Path("c.txt").rename("away.txt")
    assert json.loads(said(capsys, "evaluate", "run", "--json")) == own
    Path("c.txt").write_text("Another text. " * 9)
    again = ["train", "--resume", "run", "--epochs", "1", "--no-compare"]
    assert "the text of --test c.txt has changed" in refusal(capsys, *again)
    Path("away.txt").rename("c.txt")
    assert "goes on from step " in said(capsys, *again) and Path("run/test.json").exists()
    Path("b.txt").write_text("Another text. " * 9)
    assert "the text of --valid b.txt has changed" in refusal(
        capsys, "train", "--resume", "run", "--epochs", "1"
    )
    assert "b.txt is not the one run was trained on" in refusal(capsys, "evaluate", "run")


def test_several_texts(here: Path) -> None:
    content = train("--corpus", "a.txt", "--corpus", "b.txt", "--level", "char")
    assert content["config"]["corpus"] == ["a.txt", "b.txt"]
    folder = runs.open_folder("run")
    assert folder.config.corpora == ("a.txt", "b.txt")
    data = prepare(folder.config)
    whole = text.character_corpus([TEXT + "\n", "A dog and a cat. " * 9], letters_only=False)[0]
    assert isinstance(data.training, Stream)
    np.testing.assert_array_equal(data.training.tokens.read(), whole)
    np.testing.assert_array_equal(np.asarray(data.training), whole[: len(data.training)])
    # A file of settings may list them.
    Path("several.toml").write_text('corpus = ["a.txt", "b.txt"]\nlevel = "char"\n')
    assert main(["train", *SIZES.split(), "--config", "several.toml", "--out", "other"]) == 0
    assert runs.open_folder("other").config == folder.config


def test_a_token_file_of_a_cut_vocabulary(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = ["--corpus", "a.txt", "--level", "char", "--vocab-size", "9"]
    assert main(["tokenize", *cut, "--out", "a.tokens"]) == 0
    content = train("--corpus", "a.tokens", "--level", "char")
    assert content["config"]["vocab_size"] == 9
    # Training has met the unknown token, which counts.
    assert json.loads(said(capsys, "evaluate", "run", "--corpus", "a.txt", "--json"))[
        "unknown_counts"
    ]
    assert main(["train", "--resume", "run", "--epochs", "1", "--no-compare"]) == 0


def test_a_token_file_is_a_corpus(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenize", "--corpus", "a.txt", "--level", "char", "--out", "a.tokens"]) == 0
    train("--corpus", "a.tokens", "--level", "char")
    config = runs.TrainConfig(corpus="a.txt", level="char", batch_size=2)
    by_text, by_file = prepare(config), prepare(config.changed(corpus="a.tokens"))
    assert by_text.sha256 == by_file.sha256 and by_text.unigram_loss == by_file.unigram_loss
    train_it = ["train", *SIZES.split(), "--corpus", "a.tokens"]
    for arguments, sentence in (
        (
            [],
            "was made with --level char, and this run reads its text with --level word: give the",
        ),
        (["--level", "char", "--letters-only"], "was made with --no-letters-only"),
        (["--level", "char", "--vocab-size", "5"], "has a vocabulary of 22 tokens, not --vocab"),
        (["--level", "char", "--corpus", "a.txt"], "is a whole text in tokens: give it alone"),
        (["--level", "char", "--valid", "none.tokens"], "none.tokens cannot be read"),
    ):
        assert sentence in refusal(capsys, *train_it, *arguments, "--out", "bad")
    # There is no flag of a run for that: its level and its batching say it.
    streamed = ["tokenize", "--corpus", "b.txt", "--no-sentences", "--out", "stream.tokens"]
    assert main(streamed) == 0
    said = refusal(capsys, "train", *SIZES.split(), "--corpus", "stream.tokens", "--out", "bad")
    assert "stream.tokens is not of sentences, as this run reads its text: tokenise it" in said
    assert main(["tokenize", "--corpus", "b.txt", "--level", "char", "--out", "b.tokens"]) == 0
    assert "its vocabulary has 11 tokens and not 22" in refusal(
        capsys, *train_it, "--level", "char", "--valid", "b.tokens", "--out", "bad"
    )
    content = Path("a.tokens").read_bytes()
    for damaged, sentence in (
        (content[:-1], "is cut off or damaged"),
        (content[:70] + bytes([content[70] ^ 1]) + content[71:], "is damaged between bytes 64 and"),
        (b"text", "is not a token file"),
    ):
        Path("a.tokens").write_bytes(damaged)
        assert sentence in refusal(capsys, *train_it, "--level", "char", "--out", "bad")
        assert sentence in refusal(capsys, "evaluate", "run")
    assert not Path("bad").exists()


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"level": "line"}, "--level line is unknown; choose word, char, byte or file:"),
        (
            {"level": "byte", "batching": "sentences"},
            "which are not among the tokens of --level by",
        ),
        ({"level": "byte", "vocab_size": 9}, "--vocab-size is fixed by --level byte"),
        ({"held_out": 0.2, "valid": "b.txt"}, "--held-out and --valid say the same thing"),
        ({"corpus": ()}, "--corpus names nothing"),
        ({"level": "byte", "max_sentences": 3}, "this text is a stream of bytes"),
    ],
)
def test_settings_that_do_not_fit(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        runs.TrainConfig(**options)


def test_a_tokenizer_that_is_not_there(here: Path) -> None:
    with pytest.raises(ValueError, match=r"none.json cannot be read|needs the library tokenizers"):
        prepare(runs.TrainConfig(corpus="a.txt", level="file:none.json"))


def test_one_corpus_in_a_list_is_that_corpus() -> None:
    assert runs.TrainConfig(corpus=("a.txt",)) == runs.TrainConfig(corpus="a.txt")
    config = runs.TrainConfig(valid="b.txt")
    assert config.held_out is None and config.changed(held_out=0.2).valid is None
