"""What the folders of runs say without being loaded."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnn_jax.host.checksums import sealed
from rnn_jax.host.locks import exclusive, holder
from rnn_jax.runs.finding import find_runs
from rnn_jax.runs.listing import (
    RunSummary,
    _is_done,
    elapsed,
    parameter_count,
    summarize,
)
from tests.runs.written import row, write


def test_figures_are_those_of_the_history(tmp_path: Path) -> None:
    run = summarize(write(tmp_path / "run", [1.6, 1.2, 0.9, 1.1]))
    assert (run.state, run.note, run.step, run.total) == ("done", None, 30, 30)
    assert (run.best["loss"], run.best["epoch"], run.last["loss"]) == (0.9, 2, 1.1)
    assert run.tokens_per_second == 500
    assert parameter_count(run.folder) == 5 * 2 + 2 * 2 + 2 + 2 * 5 + 5


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_is_stopped_until_all_its_epochs_are_done(tmp_path: Path, resumed: bool) -> None:
    path = write(tmp_path / "run", [1.6, 1.2], epochs=4)
    if resumed:
        with exclusive(path / ".lock"):
            run = summarize(path)
        assert run.state == "training"
    else:
        (path / ".lock").write_text("1")  # of a killed process: nobody holds it
        run = summarize(path)
        assert run.state == "stopped"
    assert (run.step, run.total) == (10, 40)


def test_a_run_that_stopped_early_is_done() -> None:
    rows = [row(0, 1.6), row(1, 0.9), row(2, 1.0), row(3, 1.1)]
    for patience, done in ((2, True), (3, False), (None, False)):
        settings = {"epochs": 9, "early_stop": patience}
        assert _is_done(RunSummary("run", "stopped", None, settings, rows)) == done
    settings = {"epochs": None, "steps": 30}
    assert _is_done(RunSummary("run", "stopped", None, settings, rows, step=30))
    assert not _is_done(RunSummary("run", "stopped", None, settings, rows, step=29))


def _edit(path: Path, **changes: object) -> None:
    content = json.loads((path / "config.json").read_text())
    content.pop("checksum")
    (path / "config.json").write_text(json.dumps(sealed({**content, **changes})))


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    "damage, state, note",
    [
        (lambda p: (p / "config.json").unlink(), "damaged", "config.json is missing"),
        (lambda p: _cut(p / "config.json"), "damaged", "config.json is broken"),
        (lambda p: (p / "config.json").write_text("[]"), "foreign", "not a run"),
        (lambda p: (p / "config.json").write_text('{"model_type": "x"}'), "foreign", "not a run"),
        (lambda p: _edit(p, format="rnn_jax run 9"), "foreign", "another version"),
        (lambda p: _edit(p, config={"rotor": 1}), "foreign", "settings of another version"),
        (
            lambda p: (p / "config.json").write_text(
                (p / "config.json").read_text().replace('"hidden_size": 2', '"hidden_size": 3')
            ),
            "damaged",
            "config.json was changed",
        ),
        (lambda p: (p / "vocabulary.json").unlink(), "damaged", "vocabulary.json is missing"),
        (lambda p: (p / "parameters.safetensors").unlink(), "damaged", "parameters.safetensors is"),
        (lambda p: _cut(p / "parameters.safetensors"), "damaged", "is cut off or broken"),
        (lambda p: _cut(p / "best.safetensors"), "damaged", "best.safetensors is cut off"),
        (lambda p: _cut(p / "metrics.jsonl"), "stopped", "damaged lines in metrics.jsonl: 1"),
        (lambda p: (p / "metrics.jsonl").write_text("{}\n"), "stopped", "metrics.jsonl is damaged"),
        (lambda p: [file.unlink() for file in p.iterdir()], "foreign", "not a run"),
    ],
)
def test_damaged_and_foreign_folders_are_told_apart(
    tmp_path: Path, damage: Callable[[Path], object], state: str, note: str
) -> None:
    path = write(tmp_path / "runs" / "one", [1.6, 1.2, 0.9])
    damage(path)
    run = summarize(path)
    assert run.state == state and run.note is not None and note in run.note
    assert find_runs(tmp_path / "runs") == [str(path)]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_what_must_not_be_read_is_a_row(tmp_path: Path) -> None:
    path = write(tmp_path / "run", [1.6])
    (path / "config.json").chmod(0)
    assert summarize(path).note == "config.json: Permission denied"


def test_runs_are_found_at_any_depth_and_not_within_one_another(tmp_path: Path) -> None:
    for name in ("b", "a/deep/run", "a/run"):
        write(tmp_path / name, [1.6])
    (tmp_path / "b" / "saved").mkdir()
    (tmp_path / "b" / "saved" / "parameters.safetensors").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    found = [os.path.relpath(path, tmp_path) for path in find_runs(tmp_path)]
    assert found == ["a/deep/run", "a/run", "b", "other"]
    assert find_runs(tmp_path / "b") == [str(tmp_path / "b")]
    with pytest.raises(ValueError, match="is not a folder: give one that holds runs"):
        find_runs(tmp_path / "nowhere")


def test_hundreds_of_runs_take_seconds(tmp_path: Path) -> None:
    first = write(tmp_path / "0", [1.6] * 51)
    for number in range(1, 300):
        shutil.copytree(first, tmp_path / str(number))
    start = time.perf_counter()
    runs = [summarize(path) for path in find_runs(tmp_path)]
    assert time.perf_counter() - start < 10  # half a second where nothing else runs
    assert len(runs) == 300 and {run.state for run in runs} == {"done"}


def test_pauses_do_not_count_and_a_clock_set_back_stands_still() -> None:
    content = {
        "started": "2026-11-28T11:59:30+01:00",
        "resumed": [{"started": "2026-11-28T12:30:00+01:00"}],
    }
    times = ["12:00:00", "12:01:00", "12:31:30", "12:31:00", None, "12:32:00"]
    rows = [
        row(epoch, 1.0, time=clock and f"2026-11-28 {clock}") for epoch, clock in enumerate(times)
    ]
    assert elapsed(rows, content) == [30, 90, 180, 180, 180, 240]
    assert elapsed(rows[:2], {}) == [0, 60]


def test_asking_for_a_lock_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    assert holder(lock) is None and not lock.exists()
    with exclusive(lock):
        assert holder(lock) == str(os.getpid())
    fcntl = pytest.importorskip("fcntl")
    with lock.open("w") as asking:  # as `holder` does, for a moment
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert holder(lock) is None  # another one that asks
        timer = threading.Timer(0.03, fcntl.flock, (asking, fcntl.LOCK_UN))
        timer.start()
        with exclusive(lock):
            pass
        timer.join()


def test_no_flipped_bit_and_no_cut_makes_a_row_fail(tmp_path: Path) -> None:
    path = write(tmp_path / "run", [1.6, 1.2, 0.9])
    rng = np.random.default_rng(0)
    for name in ("config.json", "metrics.jsonl", "parameters.safetensors"):
        sound = (path / name).read_bytes()
        for turn in range(60):
            data = bytearray(sound)
            at = int(rng.integers(len(data)))
            if turn % 3:
                data[at] ^= 1 << int(rng.integers(8))
            else:
                del data[at:]
            (path / name).write_bytes(data)
            json.dumps(summarize(path).as_json())
        (path / name).write_bytes(sound)
    for name in ("config.json", "metrics.jsonl", "parameters.safetensors"):
        (path / name).rename(path / "aside")
        (path / name).mkdir()
        assert summarize(path).state == "damaged", name
        (path / name).rmdir()
        (path / "aside").rename(path / name)
    assert summarize(path).state == "done"


def test_rows_of_strange_kinds_do_not_fail(tmp_path: Path) -> None:
    path = write(tmp_path / "run", [1.6])
    good = row(1, 1.0)
    strange = [
        {**good, "loss": None},
        {**good, "loss": float("nan"), "tokens_per_second": "fast", "time": 5},
        {"epoch": 1, "step": 10, "loss": 0.5},
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in strange))
    run = summarize(path)
    assert run.best == strange[2] and run.tokens_per_second == 500
    assert run.as_json()["best_perplexity"] is None
