"""Memory that processes have in use, as the system counts it."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["highest_resident", "resident"]


def resident(process: int) -> int | None:
    """Bytes resident in a process and all that it has started; None where nothing counts them.

    Of pages that several share each one's are counted, those of mapped files, too.

    Example:
      >>> (resident(os.getpid()) or 1) > 0
      True
    """
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1])
        tasks = list(Path(f"/proc/{process}/task").iterdir())
    except OSError:  # it has ended, or this is no Linux
        return None
    total = pages * os.sysconf("SC_PAGE_SIZE")
    for task in tasks:
        try:
            children = (task / "children").read_text("ascii").split()
        except OSError:
            continue
        total += sum(resident(int(child)) or 0 for child in children)
    return total


def highest_resident(process: int) -> int | None:
    """The most that this process alone ever had, by the system's own account."""
    try:
        status = Path(f"/proc/{process}/status").read_text("ascii")
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else None
