"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]  # one line of a file of JSON lines, or another JSON object


_UMASK = threading.Lock()


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that replaces it if the block succeeds.

    The folder is created if it is missing. When the block raises, the temporary file is removed and
    ``target`` stays as it was; so it does when the power fails, because the new content is on the
    disk before it takes the name.

    Args:
        target: where the finished file belongs.

    Yields:
        The path to write to, in the same folder, so that the last step is one rename.

    Raises:
        OSError: the folder cannot be created or written to.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [(p.name, p.read_text()) for p in folder.iterdir()]
        [('a.txt', 'whole')]
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp creates private files; the finished one gets the mode that open() would give it.
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its name if the block succeeds.

    When the block raises, nothing is left but the folders above it.

    Args:
        target: the folder to make; there must be none yet. Folders above it are made.

    Yields:
        The folder to write to.

    Raises:
        FileExistsError: there is something of that name.
        OSError: the folder cannot be created or written to.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_folder(folder / "a") as temporary:
        ...     _ = (temporary / "b.txt").write_text("whole")
        >>> [str(p.relative_to(folder)) for p in folder.rglob("*.txt")]
        ['a/b.txt']
    """
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for path in (*temporary.rglob("*"), temporary):
            if path.is_dir():
                _sync_folder(path)
            else:
                with path.open("r+b") as file:
                    os.fsync(file.fileno())
        os.rename(temporary, target)
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    with _UMASK:  # it can only be read by setting it, which other threads must not see
        mask = os.umask(0)
        os.umask(mask)
    return mask


def target_of(temporary: str) -> str | None:
    """The name of the file that a file of this name was to replace, or None if it is no such one.

    A process that is killed leaves the temporary file of `atomic_path` behind.

    Example:
        >>> target_of(".config.json.k3_f0aq1"), target_of("config.json")
        ('config.json', None)
    """
    match = re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}", temporary)
    return match and match[1]


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def reason(error: OSError) -> str:
    """The cause of an operating-system error in a few words, without the path."""
    return error.strerror or str(error) or type(error).__name__
