"""`python -m benchmarks.tune` without a GPU: the path that it takes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tune
from rnn_jax.recurrence import Kernel


def test_every_setting_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tune.json"
    arguments = ["--interpret", "--cells", "rnn", "--shapes", "2x1x2", "--output", str(file)]
    chosen = ["--settings", "rows=2; not ahead, unroll=16"]
    assert tune.main([*arguments, *chosen]) == 0
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert [(row["setting"], row["pass"]) for row in rows[:3]] == [
        ("rows=2", "forward"),
        ("rows=2", "forward+backward"),
        ("not ahead, unroll=16", "forward"),
    ]
    assert len(rows) == 4
    assert all(row["off"] < 1e-5 and row["note"] == "" for row in rows)
    assert "us_a_step" in capsys.readouterr().out


def test_a_wrong_result_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "_OFF", {"float32": -1.0})
    only = ["--interpret", "--cells", "rnn", "--shapes", "1x1x2", "--settings", "as chosen"]
    monkeypatch.setattr(tune, "PASSES", ("forward",))
    assert tune.main(only) == 1


def test_what_does_not_fit_is_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(tune.SETTINGS, "rows=8", Kernel(rows=500))
    only = ["--interpret", "--cells", "rnn", "--shapes", "1x1x2", "--settings", "rows=8"]
    assert tune.main(only) == 0
    assert "registers a thread" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "timed on a GPU; on a CPU pass --interpret"),
        (["--interpret", "--cells", "lru"], "'lru' is none of rnn, gru, lstm"),
        (["--interpret", "--shapes", "3x0x2"], "BxTxH by commas"),
        (["--interpret", "--settings", "fast"], "'fast' is none of as chosen"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: Any) -> None:
    assert tune.main(arguments) == 2
    assert message in capsys.readouterr().err
