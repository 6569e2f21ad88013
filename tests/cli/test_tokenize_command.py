"""``rnn-jax tokenize``: what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnn_jax.cli import main
from rnn_jax.host.locks import exclusive
from rnn_jax.text import TokenFile, character_corpus


def test_a_folder_becomes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.txt").write_text("Second.")
    (tmp_path / "a.jsonl").write_text('{"text": "First."}\n')
    out = tmp_path / "x" / "a.tokens"
    arguments = ["tokenize", "--corpus", str(tmp_path / "a.jsonl"), "--corpus", str(tmp_path)]
    arguments += ["--column", "text", "--level", "char", "--out", str(out), "--processes", "2"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "14 tokens, 2 documents, vocabulary 14" in said.out and "MB/s" in said.out
    assert not said.err and [path.name for path in out.parent.iterdir()] == ["a.tokens"]
    ids, vocabulary = character_corpus(["First.\n", "Second."], letters_only=False)
    with TokenFile.open(out) as tokens:
        np.testing.assert_array_equal(tokens.ids, ids)
        assert tokens.vocabulary == vocabulary
    assert main(arguments) == 2
    assert "exists: choose another name, or --force" in capsys.readouterr().err
    assert main([*arguments, "--force", "--max-tokens", "5"]) == 0
    with TokenFile.open(out) as tokens:
        assert len(tokens) == 5 and tokens.settings["max_tokens"] == 5


def test_words_come_in_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.tokens"
    assert main(["tokenize", "--corpus", "comments-sample", "--out", str(out)]) == 0
    assert " sentences, 2" in capsys.readouterr().out
    with TokenFile.open(out) as tokens:
        assert tokens.settings["sentences"] and len(tokens.sentences) > 200


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--out is missing"),
        (["--out", "."], "is a folder: name a file in it"),
        (["--out", "bad.txt", "--force"], "bad.txt does not end in .tokens: name it bad.tokens"),
        (["--out", "a.tokens", "--processes", "0"], "--processes must be at least 1, not 0"),
        (["--out", "a.tokens", "--corpus", "none"], "--corpus none is unknown"),
        (["--out", "a.tokens", "--level", "line"], "--level line is unknown"),
        (["--out", "bad.txt/a.tokens", "--corpus", "bad.txt"], "cannot be written"),
        (["--out", "a.tokens", "--corpus", "bad.txt"], "bad.txt is not UTF-8: the byte 0xff"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.txt").write_bytes(b"\xff")
    assert main(["tokenize", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and message in said
    assert [path.name for path in tmp_path.iterdir()] == ["bad.txt"]


def test_a_corpus_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, out = tmp_path / "b.csv", tmp_path / "b.tokens"
    corpus.write_text("body\nsome text\n")
    out.symlink_to(corpus)
    for name in (corpus, out):
        assert main(["tokenize", "--corpus", str(corpus), "--out", str(name), "--force"]) == 2
    assert "b.tokens is a file of the corpus itself: name another" in capsys.readouterr().err
    assert corpus.read_text() == "body\nsome text\n" and out.is_symlink()


def test_an_error_without_a_text_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(path: Path) -> None:
        raise OSError("no such device")

    monkeypatch.setattr("rnn_jax.cli.tokenize.sole_writer", failing)
    out = str(tmp_path / "a.tokens")
    assert main(["tokenize", "--corpus", "comments-sample", "--out", out]) == 2
    assert "cannot be written (no such device): choose" in capsys.readouterr().err


def test_two_writers_of_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.tokens"
    with exclusive(tmp_path / ".a.tokens.lock"):
        assert main(["tokenize", "--corpus", "comments-sample", "--out", str(out)]) == 2
    assert "writes " in capsys.readouterr().err and not out.exists()
