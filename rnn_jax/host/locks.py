"""A lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Locked", "exclusive", "holder"]

# File systems without locks; to work there unguarded is better than not at all.
_UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
# Whoever asks with `holder` whether a lock is held is in its way for a moment.
_ATTEMPTS, _PAUSE = 5, 0.02


class Locked(Exception):
    """Another process holds the lock; its number is the argument, "" where it is unknown."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock that ``path`` stands for; the file is there only while somebody holds it.

    The operating system lets go of the lock when the process ends. A file that a killed process
    left behind is locked by nobody and in nobody's way.

    Raises:
        Locked: it is held already, by another process or by this one.
        OSError: the file cannot be created.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / ".lock"
        >>> with exclusive(file), exclusive(file):
        ...     pass
        Traceback (most recent call last):
        rnn_jax.host.locks.Locked: ...
        >>> file.exists()
        False
    """
    handle = _acquired(path)
    try:
        yield
    finally:
        # Removed while it is held: whoever opened it before finds out that it is no longer there.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)
        if sys.platform == "win32":  # where an open file cannot be removed
            with contextlib.suppress(OSError):
                path.unlink()


def holder(path: Path) -> str | None:
    """The number of the process that holds the lock, "" where it is unknown; None if none does.

    Nothing is created, and nobody who wants the lock is kept from it.

    Raises:
        OSError: there is a file, and it cannot be read.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / ".lock"
        >>> with exclusive(file):
        ...     holder(file) == str(os.getpid())
        True
        >>> print(holder(file))
        None
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        _lock(handle, shared=True)
    except BlockingIOError:
        return _read(handle)
    finally:
        os.close(handle)
    return None


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _acquired(path: Path) -> int:
    refused = 0
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
            # The holder before may have removed the file between our opening and our locking it.
            if _is_at(handle, path):
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
                return handle
        except BlockingIOError:
            refused += 1
            if refused == _ATTEMPTS:
                number = _read(handle)
                os.close(handle)
                raise Locked(number) from None
            time.sleep(_PAUSE)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _read(handle: int) -> str:
    try:
        return os.pread(handle, 20, 0).decode(errors="replace")
    except (OSError, AttributeError):
        return ""


def _lock(handle: int, *, shared: bool = False) -> None:
    """Lock an open file without waiting; raises BlockingIOError where another has.

    Shared, it is in the way of exclusive locks alone, where the system knows the difference.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            # A byte far behind the number of the process, which stays readable.
            os.lseek(handle, 1 << 20, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        except OSError:
            raise BlockingIOError from None
    else:
        import fcntl

        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
