"""`rnn-jax train --devices`."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_jax.cli import main
from tests.quick import ROOT, environment

TRAIN = shlex.split(
    "train --corpus comments-sample --max-sentences 60 --hidden-size 8 --embedding-size 6 "
    "--batch-size 4 --seq-length 10 --dropout 0.1 --no-compare"
)

# Commands in turn, up to one that fails, in one process with devices of its own.
IN_TURN = """
import json, sys
from rnn_jax.cli import main
sys.exit(next((code for words in json.loads(sys.argv[1]) if (code := main(words))), 0))
"""


@pytest.mark.parametrize(
    ("devices", "sentence"),
    [
        ("100", "--devices 100 is more than the 1 that there"),
        ("0", "--devices must be a number of at least 1, or all, not 0"),
        ("two", "--devices must be a number of at least 1, or all, not two"),
    ],
)
def test_devices_that_are_not_there_are_one_sentence(
    devices: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main([*TRAIN, "--devices", devices, "--out", str(out)]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_a_run_goes_on_with_another_number_of_devices(tmp_path: Path) -> None:

    def losses(out: Path) -> list[float]:
        lines = (out / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    one, many = tmp_path / "one", tmp_path / "many"
    resume = ["train", "--resume", str(many), "--no-compare"]
    commands = [
        [*TRAIN, "--epochs", "2", "--devices", "1", "--out", str(one)],
        [*TRAIN, "--epochs", "1", "--devices", "2", "--out", str(many)],
        [*resume, "--epochs", "2", "--devices", "all"],
        [*resume, "--epochs", "3", "--devices", "3"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(commands)],
        cwd=ROOT, env=environment(4), text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "3 devices cannot share --batch-size 4 evenly" in done.stderr
    assert losses(many) == pytest.approx(losses(one), rel=1e-5)
    assert "devices" not in (many / "config.json").read_text()
