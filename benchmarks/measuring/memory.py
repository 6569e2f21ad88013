"""Memory that processes have in use, as the system counts it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from benchmarks.measuring.processes import family

__all__ = ["highest_resident", "resident"]


def resident(process: int) -> int | None:
    """Bytes resident in a process and all that it has started; None where nothing counts them.

    Of pages that several share each one's are counted, those of mapped files, too.

    Example:
      >>> (resident(os.getpid()) or 1) > 0
      True
    """
    own = [_resident(one) for one in family(process)]
    counted = [size for size in own if size is not None]
    return sum(counted) if counted else None


def _resident(process: int) -> int | None:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1])
    except OSError:  # it has ended
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def highest_resident(process: int) -> int | None:
    """The most that this process alone ever had, by the system's own account."""
    try:
        status = Path(f"/proc/{process}/status").read_text("ascii")
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else None
