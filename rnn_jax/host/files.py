"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]  # one line of a file of JSON lines, or another JSON object


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that replaces it if the block succeeds.

    The folder is created if it is missing. When the block raises, the temporary file is removed and
    ``target`` stays as it was.

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
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def reason(error: OSError) -> str:
    """The cause of an operating-system error in a few words, without the path."""
    return error.strerror or str(error) or type(error).__name__
