"""``rnn-jax runs``, ``rnn-jax compare`` and ``rnn-jax --version``."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import pytest

import rnn_jax
from rnn_jax.cli import main
from rnn_jax.cli.runs import _KEYS
from rnn_jax.runs.folder import RunFolder
from rnn_jax.text import Vocabulary
from tests.cli.test_cli import ROOT, refusal
from tests.runs.written import write


@pytest.fixture
def two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "runs" / "slow", [1.6, 1.5, 1.45], lr=0.001)
    write(tmp_path / "runs" / "fast", [1.6, 0.9, 1.1], lr=0.01)
    return tmp_path


def test_runs_shows_what_differs_once_and_the_rest_above(
    two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (two_runs / "runs" / "notes").mkdir()
    assert main(["runs", "--sort", "loss"]) == 0
    common, blank, header, *rows = capsys.readouterr().out.splitlines()
    assert common.startswith("all: corpus python-docs, level char, cell tanh, hidden-size 2")
    assert blank == "" and "lr" not in common
    assert header.split()[:4] == ["run", "state", "lr", "best"] and "cell" not in header
    assert rows[0].split()[:7] == ["runs/fast", "done", "0.01", "0.9000", "2.46", "1", "1.1000"]
    assert rows[1].split()[:4] == ["runs/slow", "done", "0.001", "1.4500"]
    assert rows[2].startswith("runs/notes  foreign: not a run")


def test_runs_in_json_has_a_line_a_run(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two_runs / "runs" / "slow" / "config.json").write_text("{")
    assert main(["runs", "runs", "--json", "--sort", "folder"]) == 0
    fast, slow = map(json.loads, capsys.readouterr().out.splitlines())
    assert (fast["folder"], fast["state"], fast["step"]) == ("runs/fast", "done", 20)
    assert (fast["best_loss"], fast["best_epoch"], fast["last_loss"]) == (0.9, 1, 1.1)
    assert fast["settings"]["lr"] == 0.01
    assert (slow["state"], slow["note"]) == ("damaged", "config.json is broken")
    assert slow["best_loss"] is None


def test_runs_shows_the_loss_on_the_test_text_where_there_is_one(
    two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = two_runs / "runs" / "fast" / "test.json"
    for content, shown in (
        ('{"loss": 1.25, "parameters": "best"}', "1.2500"),
        ('{"loss": null}', None),
        ('{"loss": 1', None),
        ("[1]", None),
    ):
        path.write_text(content)
        assert main(["runs", "--sort", "loss"]) == 0
        _, _, header, fast, slow = capsys.readouterr().out.splitlines()
        assert ("test loss" in header) == (shown is not None)
        if shown is not None:
            assert fast.split()[7] == shown and slow.split()[7] == "–"
        assert main(["runs", "--json", "--sort", "loss"]) == 0
        losses = [json.loads(line)["test_loss"] for line in capsys.readouterr().out.splitlines()]
        assert losses == [None if shown is None else 1.25, None]


@pytest.mark.parametrize("sort", list(_KEYS))
def test_runs_can_be_in_any_order(
    two_runs: Path, sort: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "--sort", sort]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_runs_says_where_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "runs is not a folder" in refusal(capsys, "runs")
    (tmp_path / "runs").mkdir()
    assert main(["runs"]) == 0
    assert capsys.readouterr().out == "no runs in runs\n"


def test_compare_has_a_table_and_writes_a_plot(
    two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for against in ("epoch", "step", "tokens", "seconds"):
        assert main(["compare", "runs/slow", "runs/fast", "--against", against]) == 0
        header, slow, fast, *rest = capsys.readouterr().out.splitlines()
        assert header.split()[:5] == ["run", "lr", "parameters", "epoch", "steps"]
        assert slow.split()[:6] == ["runs/slow", "0.001", "31", "2", "20", "1.4500"]
        assert fast.split()[5:9] == ["0.9000", "2.46", "1", "1.1000"]
        assert rest == ["", f"losses against {against}: compare.png"]
        assert Path("compare.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(os.listdir()) == ["compare.png", "runs"]
    assert main(["compare", "runs/slow", "--out", "plots/one.svg"]) == 0
    assert "<svg" in Path("plots/one.svg").read_text()


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"level": "word"}, "differ in their units (characters and words)"),
        ({"vocabulary": Vocabulary(("<unk>", "a"), 0)}, "differ in their vocabularies"),
        ({"held_out": 0.2}, "what is evaluated (held-out)"),
        ({"hidden_size": 3}, None),
    ],
)
def test_compare_says_whose_losses_cannot_be_compared(
    two_runs: Path, settings: dict[str, Any], said: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("other"), [2.0, 1.0], **settings)
    assert main(["compare", "other", "runs/slow"]) == 0
    printed = capsys.readouterr().out
    assert ("cannot be compared" in printed) == (said is not None)
    assert said is None or said in printed


def test_compare_says_which_texts_differ(
    two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(write(Path("other"), [2.0, 1.0]))
    folder.save_settings(folder.config, folder.vocabulary, "another hash", "another text")
    assert main(["compare", "other", "runs/slow"]) == 0
    assert "the runs differ in their texts, so that" in capsys.readouterr().out


def test_compare_refuses_in_one_sentence(
    two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--out a.jpg must end in" in refusal(capsys, "compare", "runs/slow", "--out", "a.jpg")
    Path("a.png").mkdir()
    assert "a.png is a folder" in refusal(capsys, "compare", "runs/slow", "--out", "a.png")
    out = ["--out", "runs/slow/config.json/a.png"]
    assert "cannot be written to" in refusal(capsys, "compare", "runs/slow", *out)
    assert "nowhere cannot be compared (not a run)" in refusal(capsys, "compare", "nowhere")
    Path("runs/slow/metrics.jsonl").unlink()
    assert "been evaluated yet" in refusal(capsys, "compare", "runs/slow")
    assert main(["compare", "runs/slow", "runs/fast"]) == 0
    assert "runs/slow: metrics.jsonl is missing" in capsys.readouterr().out


def test_no_device_is_started(two_runs: Path) -> None:
    """A platform that does not exist would be an error as soon as one was."""
    environment = {**os.environ, "JAX_PLATFORMS": "nonexistent", "PYTHONPATH": str(ROOT)}

    def output(*arguments: str) -> str:
        command = [sys.executable, "-m", "rnn_jax", *arguments]
        return subprocess.run(
            command, cwd=two_runs, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert len(output("runs", "--json").splitlines()) == 2
    assert "compare.png" in output("compare", "runs/slow", "runs/fast")
    first, second, third = output("--version").splitlines()
    assert first == f"rnn_jax {rnn_jax.__version__}"
    assert second.startswith(f"Python {platform.python_version()}, ")
    assert third.startswith(f"JAX {jax.__version__}, jaxlib {version('jaxlib')}, ")
