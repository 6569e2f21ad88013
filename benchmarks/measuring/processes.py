"""A process and all that it has started, as Linux lists them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["family"]


def family(process: int) -> list[int]:
    """The process and its descendants that live; empty where it has ended, or nothing lists them.

    Example:
      >>> import os
      >>> family(os.getpid())[:1] in ([os.getpid()], [])
      True
    """
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
    except OSError:
        return []
    found = [process]
    for task in tasks:
        try:
            children = (task / "children").read_text("ascii").split()
        except OSError:
            continue
        for child in children:
            found += family(int(child))
    return found
