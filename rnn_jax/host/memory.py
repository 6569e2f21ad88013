"""Memory that a process has freed and will need again: kept, not given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc's malloc take large blocks from its heap, and keep them when they are freed.

    Otherwise each is mapped when it is asked for and unmapped when freed, and the system clears
    every page anew: a training step with 200 MB of temporaries touches 54,000 of them at each call.
    All threads share one heap from now on, but for those that have one already, and up to 2 GiB at
    its end are kept. Where there is another malloc, nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST)):
            mallopt(name, value)
