"""`rnn-jax train --coordinator`: several processes are one training, whatever becomes of them."""

from __future__ import annotations

import inspect
import shlex
import signal
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from typer.main import get_command

from rnn_jax.cli import app, main
from rnn_jax.training.joining import joined
from tests.groups import Group, left, rows

TRAIN = shlex.split(
    "--corpus comments-sample --level char --max-tokens 4000 --hidden-size 8 --embedding-size 6 "
    "--batch-size 4 --seq-length 10 --dropout 0.1 --no-compare"
)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--num-processes 2", "--num-processes goes with --coordinator HOST:PORT"),
        ("--process-id 1", "--process-id goes with --coordinator HOST:PORT"),
        ("--coordinator 127.0.0.1:99", "needs --num-processes and --process-id beside it"),
        (
            "--coordinator 127.0.0.1 --num-processes 2 --process-id 1",
            "--coordinator must be HOST:PORT, such as 10.0.0.1:1234, not 127.0.0.1",
        ),
        (
            "--coordinator 127.0.0.1:99 --num-processes 2 --process-id 2",
            "--process-id 2 is not one of 2 processes, which count from 0: choose one of 0 … 1",
        ),
        (
            "--coordinator 127.0.0.1:99 --num-processes 0 --process-id 0",
            "num_processes must be",
        ),
        ("--coordinator auto", "--coordinator auto finds no cluster"),
        ("--coordinator auto --num-processes 2", "finds out the number of processes by itself"),
        (
            "--coordinator 127.0.0.1:9 --num-processes 2 --process-id 1 --join-timeout 0.2",
            "process 0 does not answer at 127.0.0.1:9 within 0.2 s (Connection refused)",
        ),
        (
            "--coordinator 127.0.0.1:9 --num-processes 2 --process-id 1 --join-timeout 0",
            "--join-timeout must be seconds above 0, not 0",
        ),
    ],
)
def test_processes_that_cannot_join_are_one_sentence(
    options: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", *TRAIN, *shlex.split(options), "--out", str(out)]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_who_is_killed_before_joining_costs_the_others_less_than_a_minute() -> None:
    command = get_command(app).commands["train"]  # type: ignore[attr-defined]
    (option,) = [one for one in command.params if one.name == "join_timeout"]
    default = inspect.signature(joined).parameters["wait"].default
    assert option.default == default < 60


def test_a_task_of_a_cluster_that_trains_by_itself_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert main(["train", "--corpus", "none-such"]) == 2
    assert "one of the 4 processes that SLURM has started" in capsys.readouterr().err


def test_two_processes_are_one_training_whatever_becomes_of_them(tmp_path: Path) -> None:
    def group(out: str, *options: str) -> Group:
        return Group(tmp_path, 2, [*TRAIN, *options, "--out", str(tmp_path / out)])

    def resume(out: str) -> dict[str, str]:
        Group(tmp_path, 2, ["--resume", str(tmp_path / out), "--no-compare"]).done()
        return left(tmp_path / out)

    whole = group("whole", "--epochs", "3")
    whole.done()
    assert "2 devices of 2 processes" in whole.out(0)
    assert whole.out(1).replace("[Gloo]", "").count("perplexity") == 0
    wanted = left(tmp_path / "whole")
    one = ["train", *TRAIN, "--epochs", "3", "--devices", "1", "--out", str(tmp_path / "one")]
    assert main(one) == 0
    mine, theirs = (
        load_file(tmp_path / name / "parameters.safetensors") for name in ("one", "whole")
    )
    for name, array in mine.items():
        assert array == pytest.approx(theirs[name], rel=1e-3, abs=1e-5), name

    # Killed in a step; the last one, and the first, to which the others are connected.
    for victim in (1, 0):
        run = group(f"killed-{victim}", "--epochs", "3")
        assert run.when(lambda: rows(tmp_path / f"killed-{victim}") > 1)  # noqa: B023
        killed = run.send(victim)
        ends = run.ended()
        other = 1 - victim
        assert ends[victim][0] == -signal.SIGKILL
        assert ends[other][0] not in (0, 2), run.err(other)
        assert ends[other][1] - killed < 60
        assert f"process {victim} of 2 has vanished" in run.err(other)
    assert resume("killed-1") == wanted

    # A signal to any of them ends all, with a checkpoint.
    run = group("stopped", "--epochs", "100000")
    assert run.when(lambda: rows(tmp_path / "stopped") > 1)
    run.send(1, signal.SIGTERM)
    assert [code for code, _ in run.ended()] == [130, 130], (run.err(0), run.err(1))
    assert "stopped and saved; to go on" in run.out(0)
    assert (tmp_path / "stopped" / "checkpoint.safetensors").exists()

    # Bad input that only one of them has is known to both.
    run = Group(tmp_path, 2, [*TRAIN, "--devices", "1", "--out", str(tmp_path / "none")])
    assert [code for code, _ in run.ended()] == [2, 2]
    assert "--devices 1 leaves process 1 without a device" in run.err(0)
    assert not (tmp_path / "none").exists()
