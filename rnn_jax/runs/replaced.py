"""A run that is being replaced: kept in its folder until there is something in its place.

At any moment, so also when the process is killed, one of these holds: there is no ``.replaced``,
and the files in the folder count; or there is, complete, and what else is in the folder does not.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

__all__ = ["bring_back", "discard", "is_aside", "is_superseded", "set_aside"]

_KEPT, _BEGUN, _RETURNING = ".replaced", ".replaced.begun", ".replaced.returning"


def is_aside(name: str) -> bool:
    """Whether a name in a run's folder is that of a replaced run."""
    return name in (_KEPT, _BEGUN, _RETURNING)


def set_aside(path: Path, names: Iterable[str]) -> None:
    """Keep the named files of a folder, those that there are, and take them out of the way."""
    there = [name for name in names if (path / name).exists()]
    if not there:
        return
    begun = path / _BEGUN
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir()
    for name in there:
        try:
            os.link(path / name, begun / name)
        except OSError:  # a file system without links
            shutil.copy2(path / name, begun / name)
    begun.rename(path / _KEPT)  # only now, when it is complete
    for name in there:
        (path / name).unlink()


def bring_back(path: Path, names: Iterable[str]) -> bool:
    """Put the replaced run back in place of the named files; whether there was one."""
    shutil.rmtree(path / _BEGUN, ignore_errors=True)
    returning = path / _RETURNING
    if (path / _KEPT).exists():
        for name in names:
            (path / name).unlink(missing_ok=True)
        (path / _KEPT).rename(returning)
    if not returning.exists():
        return False
    for file in returning.iterdir():
        file.replace(path / file.name)
    returning.rmdir()
    return True


def is_superseded(path: Path, name: str) -> bool:
    """Whether a file of this name is there that is not the replaced run's own."""
    new, old = path / name, path / _KEPT / name
    if not ((path / _KEPT).exists() and new.exists()):
        return False
    return not old.exists() or not filecmp.cmp(new, old, shallow=False)


def discard(path: Path) -> None:
    """Remove the replaced run, if there is one: the new one stands in its place."""
    kept, gone = path / _KEPT, path / _BEGUN
    if kept.exists():
        shutil.rmtree(gone, ignore_errors=True)
        kept.rename(gone)  # at once: half of a run is none
        shutil.rmtree(gone)
