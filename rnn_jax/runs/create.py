"""How a run's folder begins, goes on and is replaced: by one process at a time."""

from __future__ import annotations

import contextlib
import itertools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rnn_jax.host.files import reason, target_of
from rnn_jax.host.locks import Locked, exclusive
from rnn_jax.runs.finding import is_of_fit
from rnn_jax.runs.folder import FORMAT, RunFolder, is_of_run
from rnn_jax.runs.replaced import bring_back, discard, is_aside, is_superseded, set_aside
from rnn_jax.training.store import CHECKPOINT, PARAMETERS

__all__ = ["create_folder", "latest_folder", "new_folder", "open_folder", "resumed_folder"]

_LOCK = ".lock"


@contextmanager
def new_folder(out: str | None, *, force: bool = False) -> Iterator[RunFolder]:
    """A new, empty folder for a run, which is this process's alone within the block.

    Should the block raise before a step of training was saved, nothing of the run is left, and the
    run that it was to replace is there again: that one goes when the first step is saved, or when
    the block ends.

    Args:
      out: its path, or None for a new one under ``runs/`` named by the time.
      force: replace the run that is there already.

    Raises:
      ValueError: the folder exists and holds something, cannot be written to, or is in use.
    """
    made: list[Path] = []
    try:
        with _writing(out or "runs"):
            if out is None:
                path = _make_new(made)
            else:
                path = Path(out)
                _check_vacant(path, force)  # before anything is written where it is not ours
                made += [folder for folder in (path, *path.parents) if not folder.exists()]
                path.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            with _writing(path):
                _settled(path)
                _check_vacant(path, force)  # another run may have come and gone since
            folder = RunFolder(path)
            try:
                with _writing(path):
                    set_aside(path, filter(is_of_run, _names(path)))
                    _remove(path)
                yield folder
            except BaseException:
                if not bring_back(path, filter(is_of_run, _names(path))) and not folder.trained:
                    _remove(path)
                raise
            discard(path)
    except BaseException:
        for empty in made:
            with contextlib.suppress(OSError):  # one that holds something stays
                empty.rmdir()
        raise


def _settled(path: Path) -> bool:
    """Bring back the run that a killed one was to replace, and say so; or drop it.

    It was replaced from the moment when a step of the new one was saved.
    """
    if is_superseded(path, CHECKPOINT) and RunFolder(path).steps:
        discard(path)
    return bring_back(path, filter(is_of_run, _names(path)))


def create_folder(out: str | None, *, force: bool = False) -> RunFolder:
    """As `new_folder`, without a block: nobody is kept from using it afterwards.

    Raises:
      ValueError: the folder exists and holds something, cannot be written to, or is in use.
    """
    with new_folder(out, force=force) as folder:
        return folder


def open_folder(path: str) -> RunFolder:
    """The folder of an existing run, its configuration and vocabulary checked.

    Raises:
      ValueError: it is not the folder of a run, or a broken one.
    """
    folder = _opened(path)
    _ = folder.vocabulary
    return folder


@contextmanager
def resumed_folder(path: str) -> Iterator[RunFolder]:
    """The folder of a run that goes on, which is this process's alone within the block.

    One that was killed before it trained, perhaps between its first two files, begins anew; if it
    was to replace another, that one is there again and goes on, and a warning says so.

    Raises:
      ValueError: it is not the folder of a run, a broken one, or in use.
    """
    if not any(is_aside(name) for name in _names(path)):
        _opened(path)  # before anything is written into a folder that is not ours
    with _alone(Path(path)):
        if _settled(Path(path)):
            warnings.warn(
                f"the run that was to replace the one in {path} was stopped before its first step "
                "was saved: the old one is there again, and goes on",
                stacklevel=3,
            )
        folder = _opened(path)
        _ = folder.existing_vocabulary
        for file in folder.path.iterdir():
            if file.name != _LOCK and _is_leftover(file.name) and file.is_file():
                file.unlink()
        yield folder


def latest_folder(runs: Path) -> Path:
    """The folder below ``runs`` that a run was written to last.

    Raises:
      ValueError: there is none.
    """
    written = {}
    for folder in runs.glob("*/"):
        with contextlib.suppress(OSError):
            if _is_ours(folder, ["config.json"]):
                written[folder] = max(file.stat().st_mtime_ns for file in folder.iterdir())
    if not written:
        raise ValueError(f"there is no run in {runs}/ to go on with: name its folder")
    return max(written, key=lambda folder: written[folder])


def _opened(path: str) -> RunFolder:
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        raise ValueError(f"{path} is not the folder of a run: give one that rnn-jax train wrote")
    if is_of_fit(folder.path):
        raise ValueError(
            f"{path} is the folder of a call of rnn_jax.fit, which does not keep its model: read "
            f"the parameters with rnn_jax.interop.load_params({str(folder.path / PARAMETERS)!r})"
        )
    _ = folder.config
    return folder


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from training in a folder."""
    with contextlib.ExitStack() as stack:
        try:
            with _writing(path):
                stack.enter_context(exclusive(path / _LOCK))
        except Locked as error:
            number = f" (process {error})" if str(error) else ""
            raise ValueError(
                f"another run is training in {path}{number}: wait until it ends, or choose another "
                "folder"
            ) from None
        yield


@contextmanager
def _writing(path: Path | str) -> Iterator[None]:
    """Errors of the operating system as one sentence."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"--out {path} cannot be written to ({reason(error)}): choose another folder"
        ) from None


def _make_new(made: list[Path]) -> Path:
    runs = Path("runs")
    made += [] if runs.exists() else [runs]
    stem = f"{datetime.now():%Y-%m-%d-%H%M%S}"
    names = (stem if n == 1 else f"{stem}-{n}" for n in itertools.count(1))
    for path in (runs / name for name in names):
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # another run began in this second
            continue
        made.insert(0, path)
        return path
    raise AssertionError("there is always a next number")


def _check_vacant(path: Path, force: bool) -> None:
    """Raise ValueError unless the folder is empty or to be replaced by force and only a run's."""
    if path.exists() and not path.is_dir():
        if force:
            raise ValueError(f"--out {path} is a file: choose a folder")
        raise _taken(path)
    names = _names(path)
    names = [name for name in names if not _is_leftover(name)]
    if not names:
        return
    if not force:
        raise _taken(path)
    if not _is_ours(path, names):
        raise ValueError(f"--force replaces only the folder of a run, and {path} is none")
    foreign = [name for name in names if not is_of_run(name)]
    if foreign:
        raise ValueError(
            f"--force would delete {foreign[0]} in {path}, which is not part of a run: move it"
        )


def _names(path: Path | str) -> list[str]:
    """The names in a folder; none where there is no folder."""
    path = Path(path)
    return sorted(file.name for file in path.iterdir()) if path.is_dir() else []


def _taken(path: Path) -> ValueError:
    return ValueError(
        f"--out {path} exists already: continue its run with --resume, replace it with --force, or "
        "choose another folder"
    )


def _is_ours(path: Path, names: list[str]) -> bool:
    """Whether files begin as a run's do; a broken run may still be replaced."""
    # A run that was killed in its first moments may have left its vocabulary alone.
    name, mark = ("config.json", FORMAT)
    if names == ["vocabulary.json"]:
        name, mark = ("vocabulary.json", "rnn_jax vocabulary")
    try:
        return f'"format": "{mark}' in (path / name).read_text("utf-8", errors="replace")[:200]
    except OSError:
        return False


def _is_leftover(name: str) -> bool:
    """Whether a file is what a killed process left of one it was writing."""
    ours = name in (_LOCK, ".writable") or is_of_run(target_of(name) or "") or is_aside(name)
    return ours or re.fullmatch(r"\.tmp[A-Za-z0-9]{6}", name) is not None  # safetensors' own


def _remove(path: Path) -> None:
    """Remove a run's own files, and what killed processes left of such."""
    for file in path.iterdir():
        ours = is_of_run(file.name) or _is_leftover(file.name)
        if ours and file.name != _LOCK and not is_aside(file.name):
            file.unlink()
