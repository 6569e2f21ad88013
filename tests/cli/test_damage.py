"""A run with a bit flipped, given to the commands: refused, or the same result."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from rnn_jax.cli import main

TRAIN = [
    *("train", "--corpus", "a.txt", "--out", "run", "--no-compare", "--epochs", "1"),
    *("--hidden-size", "3", "--embedding-size", "4", "--batch-size", "2", "--seq-length", "6"),
]
COMMANDS = [
    ["evaluate", "run", "--json"],
    ["evaluate", "run", "--best", "--json"],
    ["sample", "run", "--count", "2", "--length", "5"],
    ["train", "--resume", "run", "--epochs", "2", "--no-compare"],
]
PLACES = 3  # in each file; tests/runs flips many more in what these commands read


def outcome(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[bytes] | None:
    """What a command gives, printed or trained; None where it refuses, in one sentence."""
    capsys.readouterr()
    code = main(arguments)
    printed, error = capsys.readouterr()
    said = [line for line in error.splitlines() if not line.startswith("rnn-jax: warning: ")]
    if code:
        assert code == 2 and len(said) == 1 and said[0].startswith("rnn-jax: ")
        return None
    assert not said
    if arguments[0] != "train":
        return [printed.encode()]
    names = ("parameters.safetensors", "checkpoint.safetensors", "samples.txt")
    return [Path("run", name).read_bytes() for name in names]


# A damaged checkpoint is not refused: the one before it is used.
UNREAD = (
    *("metrics.jsonl", "samples.txt", "loss.png"),
    *("checkpoint.safetensors", "checkpoint-0.safetensors"),
)


@pytest.mark.filterwarnings("default")
def test_a_flipped_bit_never_changes_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "The cat saw a dog. It ran! Did the dog see it? A bird sang, and the cat slept. " * 5
    Path("a.txt").write_text(words)
    assert main(TRAIN) == 0
    shutil.copytree("run", "sound")
    expected = []
    for command in COMMANDS:
        expected.append(outcome(command, capsys))
        assert expected[-1] is not None
    rng = np.random.default_rng(0)
    refused = dict.fromkeys(sorted(file.name for file in Path("sound").iterdir()), 0)
    assert len(refused) == 9
    for name in refused:
        whole = Path("sound", name).read_bytes()
        for place in rng.integers(0, len(whole), PLACES):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << rng.integers(8)
            for command, wanted in zip(COMMANDS, expected, strict=True):
                shutil.rmtree("run")
                shutil.copytree("sound", "run")
                Path("run", name).write_bytes(damaged)
                found = outcome(command, capsys)
                refused[name] += found is None
                assert found in (None, wanted), f"{command[0]} with byte {place} of {name}"
    for name, times in refused.items():
        # Every command reads settings and vocabulary, one the best parameters, two the latest.
        assert times > PLACES // 2 or name in UNREAD, name
