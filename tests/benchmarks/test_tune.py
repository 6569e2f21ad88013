"""`python -m benchmarks tune` without a GPU: the path that it takes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import pytest

from benchmarks import tune
from benchmarks.__main__ import main
from rnn_jax.recurrence import Kernel


def test_every_setting_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tune.json"
    arguments = ["--interpret", "--cells", "rnn", "--shapes", "2x1x2", "--output", str(file)]
    chosen = ["--settings", "rows=2; not ahead, unroll=16"]
    assert main(["tune", *arguments, *chosen]) == 0
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
    assert main(["tune", *only]) == 1


def test_what_does_not_fit_is_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(tune.SETTINGS, "rows=8", Kernel(rows=500))
    only = ["--interpret", "--cells", "rnn", "--shapes", "1x1x2", "--settings", "rows=8"]
    assert main(["tune", *only]) == 0
    assert "registers a thread" in capsys.readouterr().out


def test_an_error_of_the_compiler_is_a_line_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(cell: Any, backend: Any, name: str) -> Any:
        if backend == Kernel(rows=2, interpret=True):
            raise jax.errors.JaxRuntimeError("INTERNAL: ptxas exited with 255\nmore of it")
        return built(cell, backend, name)

    built, file = tune._pass, tmp_path / "tune.json"
    monkeypatch.setattr(tune, "_pass", broken)
    monkeypatch.setattr(tune, "PASSES", ("forward",))
    only = ["--interpret", "--cells", "rnn", "--shapes", "1x1x2", "--settings", "rows=2;rows=1"]
    assert main(["tune", *only, "--output", str(file)]) == 1
    failed, right = json.loads(file.read_text(encoding="utf-8"))
    assert failed["note"] == "JaxRuntimeError: INTERNAL: ptxas exited with 255"
    assert (failed["failed"], right["failed"], right["note"]) == (True, False, "")


def test_interrupted_it_shows_what_has_been_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(cell: Any, backend: Any, name: str) -> Any:
        if backend == Kernel(rows=1, interpret=True):
            raise KeyboardInterrupt
        return built(cell, backend, name)

    built = tune._pass
    monkeypatch.setattr(tune, "_pass", interrupted)
    monkeypatch.setattr(tune, "PASSES", ("forward",))
    only = ["--interpret", "--cells", "rnn", "--shapes", "1x1x2", "--settings", "rows=2;rows=1"]
    assert main(["tune", *only]) == 130
    assert "| rnn " in capsys.readouterr().out


def test_times_are_of_the_scans_time_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(cell: Any, backend: Any, name: str) -> Any:
        if backend == "auto":
            raise MemoryError
        return built(cell, "scan", name)

    built = tune._pass
    monkeypatch.setattr(tune, "_CALLS", 2)
    monkeypatch.setattr(tune, "_pass", lambda cell, backend, name: built(cell, "scan", name))
    point = tune._Point("rnn", (1, 2, 2), "float32", interpret=False)
    scan, row = point.scan("forward"), point.row("as chosen", "forward")
    assert row["of_scan"] == row["us_a_step"] / scan["us_a_step"]
    monkeypatch.setattr(tune, "_pass", failing)
    assert point.scan("forward")["note"] == "MemoryError: "
    again = point.row("as chosen", "forward")
    assert (again["of_scan"], again["failed"]) == (None, False)
    assert again["us_a_step"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "timed on a GPU; on a CPU pass --interpret"),
        (["--interpret", "--cells", "lru"], "'lru' is none of rnn, gru, lstm"),
        (["--interpret", "--shapes", "3x0x2"], "BxTxH by commas"),
        (["--interpret", "--seconds", "nan"], "--seconds must be finite and above 0, not nan"),
        (["--interpret", "--seconds", "0"], "--seconds must be finite and above 0, not 0"),
        (["--interpret", "--output", f"{__file__}/x"], "cannot be written"),
        (["--interpret", "--output", __file__], "exists already: name a new file"),
        (["--interpret", "--settings", "fast"], "'fast' is none of as chosen"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: Any) -> None:
    assert main(["tune", *arguments]) == 2
    assert message in capsys.readouterr().err
