"""`rnn-jax train --devices`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_jax.cli import main

ROOT = Path(__file__).parents[2]
TRAIN = shlex.split(
    "train --corpus comments-sample --max-sentences 60 --hidden-size 8 --embedding-size 6 "
    "--batch-size 4 --seq-length 10 --dropout 0.1 --no-compare"
)


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
    flags = "--xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rnn_jax", *arguments],
            cwd=ROOT, env=environment, text=True, capture_output=True,
        )  # fmt: skip

    def losses(out: Path) -> list[float]:
        lines = (out / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    one, many = tmp_path / "one", tmp_path / "many"
    done = command(*TRAIN, "--epochs", "2", "--devices", "1", "--out", str(one))
    assert done.returncode == 0, done.stderr
    done = command(*TRAIN, "--epochs", "1", "--devices", "2", "--out", str(many))
    assert done.returncode == 0, done.stderr
    assert "devices" not in (many / "config.json").read_text()
    done = command("train", "--resume", str(many), "--epochs", "2", "--devices", "all",
                   "--no-compare")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert losses(many) == pytest.approx(losses(one), rel=1e-5)
    done = command("train", "--resume", str(many), "--epochs", "3", "--devices", "3")
    assert done.returncode == 2
    assert "3 devices cannot share --batch-size 4 evenly" in done.stderr
