"""Faults from outside: closed outputs, signals, pipes, no memory, sizes that nothing can hold."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from rnn_jax.cli import main

ROOT = Path(__file__).parents[2]
SIZES = "--epochs 1 --hidden-size 8 --embedding-size 6 --batch-size 4 --seq-length 10"
TRAIN = shlex.split(f"train --corpus comments-sample --max-sentences 60 {SIZES} --no-compare")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("rnn-jax: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    "options, sentence",
    [
        ("--hidden-size 2000000000", "choose smaller sizes"),
        ("--hidden-size 100000000000000000000", "--hidden-size must be below"),
        ("--hidden-size 1000000000", "choose smaller sizes"),
        ("--embedding-size 2000000000", "choose smaller sizes"),
        ("--batching sentences --batch-size 2000000000", "choose smaller sizes"),
        ("--seq-length 2000000000", "shorter than one batch"),
        ("--num-layers 1000000", "--num-layers must be at most 1000"),
    ],
)
def test_absurd_sizes(
    options: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert sentence in refusal(capsys, *TRAIN, *options.split(), "--out", str(out))
    assert not out.exists()


def test_absurd_sizes_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refusal(capsys, "gradcheck", "--vocab-size", "10000000000", "--hidden-size", "10000")
    assert "choose smaller sizes" in sentence
    for recipe in ("binary-addition", "next-token", "war-and-peace"):
        sentence = refusal(capsys, "recipe", recipe, "--hidden-size", "1000000000")
        assert "--hidden-size 1000000000 takes" in sentence


def test_out_of_memory_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory: 9 bytes.\nframes")

    monkeypatch.setattr("rnn_jax.cli.one_run.fit", fail)
    out = tmp_path / "run"
    sentence = refusal(capsys, *TRAIN, "--out", str(out))
    assert "the memory does not suffice, choose smaller sizes" in sentence
    assert not out.exists()


def test_a_pipe_for_a_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    sentence = refusal(capsys, "train", "--corpus", str(tmp_path / "pipe.txt"))
    assert "is a pipe or a device" in sentence


def test_a_locked_folder_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rnn_jax.runs import resumed_folder

    out = str(tmp_path / "run")
    assert main([*TRAIN, "--out", out]) == 0
    capsys.readouterr()
    with resumed_folder(out):
        for arguments in (["train", "--resume", out], [*TRAIN, "--out", out, "--force"]):
            assert "another run is training in" in refusal(capsys, *arguments)
    # The rate may be lowered, which is what a run that diverges is told to do.
    resumed = ["train", "--resume", out, "--epochs", "2", "--lr", "0.001", "--no-compare"]
    assert main(resumed) == 0
    assert capsys.readouterr().out.count("words' frequencies") == 1


@pytest.mark.parametrize("why", ["missing", "cut off", "another model's", "no such device"])
def test_a_run_that_cannot_go_on_keeps_all_that_it_has(
    why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, text = tmp_path / "run", tmp_path / "test.txt"
    text.write_text("the time machine . it was a book .\n" * 4)
    assert main([*TRAIN, "--test", str(text), "--keep", "1", "--out", str(out)]) == 0
    (checkpoint,) = out.glob("checkpoint*")
    if why == "missing":
        checkpoint.unlink()
    elif why == "cut off":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    elif why == "another model's":
        checkpoint.write_bytes((out / "parameters.safetensors").read_bytes())
    kept = {file.name: file.read_bytes() for file in out.iterdir()}
    assert "test.json" in kept
    capsys.readouterr()
    options = ["--devices", "3"] if why == "no such device" else []
    refusal(capsys, "train", "--resume", str(out), "--epochs", "9", *options)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == kept
    if why == "no such device":
        assert main(["train", "--resume", str(out), "--epochs", "2", "--no-compare"]) == 0
        assert (out / "test.json").read_bytes() != kept["test.json"]


def test_a_character_run_speaks_of_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = shlex.split(f"--level char --max-tokens 600 --out {tmp_path / 'run'}")
    train = [word for word in TRAIN if word not in ("--max-sentences", "60")]
    assert main([*train, *options]) == 0
    assert "what the characters' frequencies alone give" in capsys.readouterr().out
    sentence = refusal(capsys, "sample", str(tmp_path / "run"), "--prefix", "Ж")
    assert "never seen ('Ж'): leave them out" in sentence
    for option in ("--count", "--length"):
        sentence = refusal(capsys, "sample", str(tmp_path / "run"), option, "2000000000")
        assert "tokens take" in sentence and "choose smaller sizes" in sentence
    assert "length must be below" in refusal(
        capsys, "sample", str(tmp_path / "run"), "--length", "1000000000000000000000"
    )


def command(*arguments: str, **options: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rnn_jax", *arguments],
        cwd=ROOT,
        text=True,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )


def test_a_closed_standard_output(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with command(*TRAIN, "--out", str(tmp_path / "run"), stdout=writer) as process:
        os.close(writer)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 141
    assert error == "rnn-jax: standard output was closed, so the command has stopped\n"
    assert not (tmp_path / "run").exists()


def test_ctrl_c_in_the_first_moments(tmp_path: Path) -> None:
    with command(*TRAIN, "--out", str(tmp_path / "run"), stdout=subprocess.DEVNULL) as process:
        time.sleep(0.4)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in error
    assert not (tmp_path / "run").exists()
