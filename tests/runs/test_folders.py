"""Folders of runs: locked, replaced, begun again after a kill at any moment."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnn_jax import runs
from rnn_jax.host.files import atomic_path
from rnn_jax.runs.replaced import bring_back, set_aside
from tests.runs.test_runs import Silent, start


def test_two_runs_exclude_each_other(tmp_path: Path) -> None:
    folder, _ = start(tmp_path / "run", max_sentences=50)
    path = str(folder.path)
    with runs.resumed_folder(path):
        for taken in (
            runs.resumed_folder(path),
            runs.new_folder(path, force=True),
        ):
            with pytest.raises(ValueError, match=r"another run is training in .* \(process \d+\)"):
                taken.__enter__()
    with runs.resumed_folder(path):
        pass
    assert sorted(file.name for file in folder.path.iterdir()) == ["config.json", "vocabulary.json"]


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, os\n"
        "from rnn_jax.host.locks import exclusive\n"
        "with exclusive(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    folder, _ = start(tmp_path / "run", max_sentences=50)
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(folder.path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {holder.pid}"):
            runs.create_folder(str(folder.path), force=True)
        holder.kill()
    assert (folder.path / ".lock").exists()
    assert runs.create_folder(str(folder.path), force=True).path == folder.path
    assert not list(folder.path.iterdir())


def test_a_run_that_was_killed_between_its_files_goes_on_or_is_replaced(tmp_path: Path) -> None:
    folder, data = start(tmp_path / "run", max_sentences=50, epochs=1)
    (folder.path / "vocabulary.json").unlink()
    with runs.resumed_folder(str(folder.path)) as again:
        assert again.existing_vocabulary is None
        again.save_settings(data.config, data.vocabulary, data.sha256, data.origin)
        # From the start: nothing was trained.
        assert runs.fit(again, data, Silent(), resume=True) == "done"
    (folder.path / "config.json").unlink()
    for path in (folder.path / "metrics.jsonl", *folder.path.glob("*.safetensors")):
        path.unlink()
    with pytest.raises(ValueError, match="exists already"):
        runs.create_folder(str(folder.path))
    runs.create_folder(str(folder.path), force=True)
    assert not list(folder.path.iterdir())


def test_temporary_files_of_a_killed_process_are_in_nobodys_way(tmp_path: Path) -> None:
    folder, _ = start(tmp_path / "run", max_sentences=50)
    leftover = folder.path / ".checkpoint.safetensors.k3_f0aq1"
    leftover.touch()
    with runs.resumed_folder(str(folder.path)):
        assert not leftover.exists()
    leftover.touch()
    runs.create_folder(str(folder.path), force=True)
    assert not list(folder.path.iterdir())
    leftover.touch()
    runs.create_folder(str(folder.path))  # with nothing else in it, the folder counts as empty
    assert not list(folder.path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_fails_before_a_step_leaves_nothing(
    tmp_path: Path, error: type[BaseException]
) -> None:
    out = tmp_path / "some" / "where"

    def fail() -> None:
        with runs.new_folder(str(out)) as folder:
            folder.write_text("config.json", "{}")
            raise error

    with pytest.raises(error):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_fails_later_keeps_what_was_trained(tmp_path: Path) -> None:
    def fail(listener: Silent) -> None:
        with runs.new_folder(str(tmp_path / "run")) as folder:
            data = runs.prepare(trained.config)
            folder.save_settings(data.config, data.vocabulary, data.sha256, data.origin)
            runs.fit(folder, data, listener)
            raise KeyboardInterrupt

    trained, _ = start(tmp_path / "other", max_sentences=50, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        fail(Silent())
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.fixture(scope="module")
def trained_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, data = start(tmp_path_factory.mktemp("old") / "run", max_sentences=50, epochs=1)
    runs.fit(folder, data, Silent())
    return folder.path


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.fixture
def old(trained_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_path, tmp_path / "run"))


def test_a_replaced_run_comes_back_if_the_new_one_does_not_come_about(old: Path) -> None:
    before = files(old)

    def replace(data: runs.RunData) -> None:
        with runs.new_folder(str(old), force=True) as folder:
            assert not (old / "checkpoint.safetensors").exists()
            folder.save_settings(data.config, data.vocabulary, data.sha256, data.origin)
            runs.fit(folder, data, Silent())

    config = runs.open_folder(str(old)).config
    diverging = dataclasses.replace(config, lr=1e38, optimizer="sgd", clip=0.0)
    with pytest.raises(ValueError, match="no longer finite"):
        replace(runs.prepare(diverging))
    assert files(old) == before
    replace(runs.prepare(dataclasses.replace(config, seed=1)))
    assert files(old).keys() == before.keys() and runs.open_folder(str(old)).config.seed == 1


def test_a_replaced_run_goes_when_a_step_of_the_new_one_is_saved(old: Path) -> None:
    class Failing(Silent):
        def evaluated(self, row: dict[str, Any], params: Any) -> None:
            if row["step"]:
                raise RuntimeError

    data = runs.prepare(dataclasses.replace(runs.open_folder(str(old)).config, seed=1))

    def replace() -> None:
        with runs.new_folder(str(old), force=True) as folder:
            folder.save_settings(data.config, data.vocabulary, data.sha256, data.origin)
            runs.fit(folder, data, Failing())

    with pytest.raises(RuntimeError):
        replace()
    folder = runs.open_folder(str(old))
    assert folder.trained and folder.config.seed == 1
    assert not [file for file in old.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("moment", range(24))
def test_a_kill_while_a_run_is_replaced_loses_nothing(
    old: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many changes to the folder everything stops, and again on the way back."""
    before, left, changes = files(old), 0, ("unlink", "rename", "replace", "rmdir", "mkdir")

    def mortal(do: Callable[..., Any]) -> Callable[..., Any]:
        def done(*given: Any, **options: Any) -> Any:
            nonlocal left
            if not left:
                raise SystemExit
            left -= 1
            return do(*given, **options)

        return done

    def replace() -> None:
        set_aside(old, before)
        (old / "config.json").write_text("that of the new run")

    for command in (replace, lambda: bring_back(old, before)):
        left = moment
        with monkeypatch.context() as patch, contextlib.suppress(SystemExit):
            for name in changes:
                patch.setattr(Path, name, mortal(getattr(Path, name)))
            patch.setattr(os, "link", mortal(os.link))
            command()
    bring_back(old, before)
    assert files(old) == before


def test_a_kill_between_the_first_checkpoint_and_the_end_of_the_old_run(old: Path) -> None:
    """A run whose first step is saved is not thrown away for the one that it replaced."""
    config = dataclasses.replace(runs.open_folder(str(old)).config, seed=1)
    data = runs.prepare(config)
    before = {name: (old / name).read_bytes() for name in files(old)}
    with runs.new_folder(str(old), force=True) as folder:
        folder.save_settings(data.config, data.vocabulary, data.sha256, data.origin)
        runs.fit(folder, data, Silent())
    (old / ".replaced").mkdir()  # as if it had not been discarded yet
    for name, content in before.items():
        (old / ".replaced" / name).write_bytes(content)
    with runs.resumed_folder(str(old)) as again:
        assert again.config.seed == 1 and again.trained
    assert not (old / ".replaced").exists()


def test_a_killed_replacement_is_told(old: Path) -> None:
    before = files(old)
    set_aside(old, before)
    (old / "config.json").write_text("{")
    with (
        pytest.warns(UserWarning, match="the old one is there again"),
        runs.resumed_folder(str(old)),
    ):
        pass
    assert files(old) == before
    set_aside(old, before)
    with pytest.raises(ValueError, match="exists already"):
        runs.create_folder(str(old))  # although no file of a run is in sight
    assert files(old) == before


def test_versions_have_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, data = start(tmp_path / "run", max_sentences=50)
    settings = data.config, data.vocabulary, data.sha256, data.origin
    first = json.loads((folder.path / "config.json").read_text())
    assert first["resumed"] == []
    monkeypatch.setattr("rnn_jax.runs.folder.version", lambda name: "99")
    for _ in range(2):
        with runs.resumed_folder(str(folder.path)) as again:
            again.save_settings(*settings)
    content = json.loads((folder.path / "config.json").read_text())
    for key in ("python", "versions", "device", "started"):
        assert content[key] == first[key]
    assert [entry["versions"]["jax"] for entry in content["resumed"]] == ["99", "99"]


def test_files_reach_the_disk_before_they_take_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    replace = os.replace
    monkeypatch.setattr("os.fsync", lambda handle: events.append("sync"))

    def replaced(*paths: Path) -> None:
        events.append("replace")
        replace(*paths)

    monkeypatch.setattr("os.replace", replaced)
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert events[:2] == ["sync", "replace"]
