"""Memory that a process has freed and will need again: kept, not given back to the system."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc's malloc take large blocks from its heap, and keep them when they are freed.

    Otherwise each is mapped when it is asked for and unmapped when freed, and the system clears
    every page anew: a training step with 200 MB of temporaries touches 54,000 of them at each call.
    All threads must share one heap, which only those do that begin afterwards.

    Returns:
      Whether there was a malloc that understood it; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    given = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST))
    return sum(mallopt(name, value) for name, value in given) == len(given)
