"""`rnn-jax train`: stopped by signals, resumed, begun from another run, repeated with seeds."""

from __future__ import annotations

import gc
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import rnn_jax
from rnn_jax import cli, interop, runs
from rnn_jax.cli import main
from rnn_jax.host.startup import interrupts_as_usual
from rnn_jax.runs.listing import summarize

ROOT = Path(__file__).parents[2]
SIZES = "--hidden-size 8 --embedding-size 6 --batch-size 4 --seq-length 10 --no-compare"
TRAIN = shlex.split(f"train --corpus comments-sample --max-sentences 60 {SIZES}")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main([*TRAIN, "--epochs", "2", "--dropout", "0.1", "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_says_how_to_go_on(
    number: signal.Signals, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "rnn_jax", *TRAIN, "--epochs", "100000", "--dropout", "0.1",
         "--out", str(out)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:  # until it trains
        if line.split()[:1] == ["1"]:
            break
    process.send_signal(number)
    output, error = process.communicate(timeout=120)
    assert process.returncode == 130 and error == ""
    assert f"stopped and saved; to go on: rnn-jax train --resume {out}" in output
    assert not list(out.glob(".lock"))
    done = runs.open_folder(str(out)).steps
    assert done
    # All epochs of the shorter run are among its own, to the bit.
    wanted = [(row["step"], row["train_loss"], row["loss"]) for row in rows(trained)]
    got = [(row["step"], row["train_loss"], row["loss"]) for row in rows(out)]
    assert got[: len(wanted)] == wanted[: len(got)]


def test_the_latest_run_goes_on(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--resume", "latest"]) == 2
    assert "there is no run in runs/ to go on with" in capsys.readouterr().err
    for name in ("b", "a"):
        assert main([*TRAIN, "--epochs", "1", "--dropout", "0.1", "--out", f"runs/{name}"]) == 0
    os.utime("runs/b/metrics.jsonl", ns=(0, time.time_ns() + 10**9))
    assert main(["train", "--resume", "latest", "--epochs", "2", "--no-compare"]) == 0
    assert len(rows(tmp_path / "runs/b")) == 3 and len(rows(tmp_path / "runs/a")) == 2
    for name in ("parameters.safetensors", "best.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "runs/b" / name).read_bytes() == (trained / name).read_bytes()


def test_a_run_begins_where_another_ended(trained: Path, tmp_path: Path, capsys: Any) -> None:
    text = tmp_path / "other.txt"
    text.write_text("I like the garden very much . The cake was good . " * 60)
    out = tmp_path / "run"
    begin = ["train", "--init-from", str(trained), "--corpus", str(text), "--no-compare"]
    assert main([*begin, "--max-tokens", "9", "--out", str(out)]) == 2
    assert main([*begin, "--epochs", "0", "--out", str(out)]) == 0
    first, before = runs.open_folder(str(out)), runs.open_folder(str(trained))
    assert first.vocabulary == before.vocabulary and first.config.hidden_size == 8
    assert first.config.dropout == 0.1 and first.config.corpus == str(text)
    assert first.config.max_sentences == 60
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("taken over from"))
    assert str(trained) in line and "max-sentences 60" in line and "dropout 0.1" in line
    assert "corpus" not in line  # given anew
    again = ["--init-from", str(trained), "--epochs", "0", "--out", str(tmp_path / "again")]
    assert main(["train", *again, "--no-compare"]) == 0
    assert "corpus comments-sample" in capsys.readouterr().out
    best, begun = before.load_parameters(best=True), first.load_parameters()
    np.testing.assert_array_equal(best["readout"]["w"], begun["readout"]["w"])
    assert main(["train", "--resume", str(out), "--epochs", "3", "--no-compare"]) == 0
    losses = [row["loss"] for row in rows(out)]
    assert losses == sorted(losses, reverse=True)
    capsys.readouterr()
    assert main([*begin, "--hidden-size", "9"]) == 2
    assert "another model" in capsys.readouterr().err
    assert main([*begin, "--vocab-size", "50"]) == 2
    assert "--vocab-size 50 does not go with --init-from" in capsys.readouterr().err
    assert main(["train", "--init-from", str(tmp_path)]) == 2
    assert "not the folder of a run" in capsys.readouterr().err


def test_a_carry_of_complex_numbers_is_saved_and_goes_on(tmp_path: Path) -> None:
    train = [*TRAIN, "--batching", "sequential", "--cell", "lru"]
    assert main([*train, "--epochs", "2", "--out", str(tmp_path / "whole")]) == 0
    assert main([*train, "--epochs", "1", "--out", str(tmp_path / "cut")]) == 0
    again = ["train", "--resume", str(tmp_path / "cut"), "--epochs", "2", "--no-compare"]
    assert main(again) == 0
    whole, cut = (tmp_path / name / "checkpoint.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()


@pytest.mark.filterwarnings("default")
def test_early_stopping_is_said(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    options = ["--epochs", "9", "--lr", "1e-9", "--early-stop", "1", "--out", str(out)]
    assert main([*TRAIN, *options]) == 0
    output = capsys.readouterr().out
    best = min(rows(out), key=lambda row: row["loss"])
    assert rows(out)[-1]["epoch"] == best["epoch"] + 1 < 9
    assert "stopped early, by --early-stop 1\n" in output
    assert f"the lowest loss was that at epoch {best['epoch']}" in output
    (out / "metrics.jsonl").unlink()  # how it went is not known any more, and no longer told
    assert main(["train", "--resume", str(out), "--no-compare"]) == 0
    assert "has no row of before" in capsys.readouterr().err


def test_seeds(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    options = ["--epochs", "1", "--seed", "7", "--seeds", "3"]
    assert main([*TRAIN, *options, "--out", str(out)]) == 0
    output = capsys.readouterr().out
    folders = [Path(f"{out}-seed-{seed}") for seed in (7, 8, 9)]
    best = [min(row["loss"] for row in rows(folder)) for folder in folders]
    assert len(set(best)) == 3
    deviation = np.std(best, ddof=1)
    assert f"best  {np.mean(best):.4f} ± {deviation:.4f} ({min(best):.4f} to" in output
    for options, sentence in (
        (["--seeds", "0"], "--seeds must be at least 1, not 0"),
        (["--seeds", "2", "--seed", str(2**32 - 1)], "leaves no 2 seeds below"),
        (["--seeds", "2", "--resume", str(folders[0])], "--seeds makes new runs"),
    ):
        arguments = ["train", *options] if "--resume" in options else [*TRAIN, *options]
        assert main(arguments) == 2
        assert sentence in capsys.readouterr().err


def test_tensorboard_files(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main([*TRAIN, "--epochs", "1", "--tensorboard", "--out", str(out)]) == 0
    (file,) = out.glob("events.out.tfevents.*")
    content = file.read_bytes()
    for tag in (b"loss/validation", b"loss/training", b"learning_rate"):
        assert tag in content
    # Part of the run, which may be replaced with it.
    assert main([*TRAIN, "--epochs", "0", "--out", str(out), "--force"]) == 0
    assert not file.exists()


def test_without_a_terminal_there_are_lines_within_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("rnn_jax.training.report._EVERY", 0.0)
    monkeypatch.setattr("rnn_jax.cli.report._EVERY", 0.0)
    text = tmp_path / "own.txt"
    text.write_text("A line of words that is read . " * 4000)
    options = shlex.split(f"train --corpus {text} --epochs 1 {SIZES} --out {tmp_path / 'run'}")
    assert main(options) == 0
    captured = capsys.readouterr()
    assert "tokenizing: " in captured.err and " bytes" in captured.err
    line = next(x for x in captured.out.splitlines() if x.startswith("  epoch 1 of 1, step 1 of"))
    assert "loss " in line and "perplexity " in line and "tokens/s" in line
    later = [x for x in captured.out.splitlines() if x.startswith("  epoch 1 of 1")][-1]
    assert later.endswith(" left")


def test_an_interrupt_that_python_drops_comes_again(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def collecting(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(collecting)
        raise KeyboardInterrupt

    def work() -> None:
        gc.callbacks.append(collecting)
        gc.collect()
        time.sleep(5)
        pytest.fail("nobody heard of it")

    monkeypatch.setattr(cli.options, "interrupts_as_usual", interrupts_as_usual)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.collect()
    gc.freeze()  # what other tests have left is not looked through, which takes long
    try:
        assert cli.options.run(lambda *_, **__: work(), ["x"]) == 130  # type: ignore[arg-type]
    finally:
        gc.unfreeze()
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "interrupted\n"


def test_the_folder_of_fit_is_no_run_but_has_parameters(tmp_path: Path) -> None:
    model = rnn_jax.language_model(7, rnn_jax.recurrent(rnn_jax.gru(4)))
    data = rnn_jax.training.consecutive(np.arange(99) % 7, batch_size=2, seq_length=8)
    folder = tmp_path / "fit"
    state, _ = rnn_jax.fit(
        model, rnn_jax.sgd(0.1), data, steps=2, key=jax.random.key(0), folder=folder
    )
    with pytest.raises(ValueError, match=r"the folder of a call of rnn_jax\.fit") as caught:
        rnn_jax.load_run(folder)
    expression = str(caught.value).split("with ")[1]
    params = eval(expression, {"rnn_jax": rnn_jax})
    np.testing.assert_array_equal(params["readout"]["w"], state.params["readout"]["w"])
    listed = summarize(folder)
    assert (listed.state, listed.note) == ("foreign", "of rnn_jax.fit in a program")


def test_parameters_of_a_run_are_read_without_it(trained: Path) -> None:
    params = interop.load_params(trained / "best.safetensors")
    assert params["readout"]["w"].shape[0] == 8
