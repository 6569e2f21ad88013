"""Which folders are those of runs, by the names in them."""

from __future__ import annotations

import os
from pathlib import Path

from rnn_jax.training.store import BEST, CHECKPOINT, METRICS, PARAMETERS

__all__ = ["find_runs", "is_of_fit", "looks_like_run"]

# Any of these makes a folder look like that of a run, perhaps a damaged one.
_MARKS = ("config.json", METRICS, PARAMETERS, BEST, CHECKPOINT)


def find_runs(root: str | os.PathLike[str]) -> list[str]:
    """Folders below ``root``, or itself, that a run may have written, in the order of their names.

    Those right below it are listed whatever they hold, unless a run is further down in them. Hidden
    folders, links and what lies within a run are not looked into.

    Raises:
      ValueError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder: give one that holds runs")
    if looks_like_run(root):
        return [str(root)]
    return [name for child in _subfolders(root) for name in _below(child) or [str(child)]]


def looks_like_run(path: Path) -> bool:
    """Whether a folder holds files of a run, whatever is in them."""
    try:
        return any((path / name).exists() for name in _MARKS)
    except OSError:
        return False


def is_of_fit(path: Path) -> bool:
    """Whether a folder is that of a call of `fit`, without the settings and vocabulary of a run."""
    beside = (path / "config.json").exists() or (path / "vocabulary.json").exists()
    return (path / CHECKPOINT).exists() and not beside


def _below(path: Path) -> list[str]:
    """Folders that look like a run's, from ``path`` down."""
    if looks_like_run(path):
        return [str(path)]
    return [name for child in _subfolders(path) for name in _below(child)]


def _subfolders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            names = [
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
    return [path / name for name in sorted(names)]
