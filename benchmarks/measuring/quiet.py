"""Whether the machine is quiet: what share of its cores other processes keep busy.

The load average looks back a minute and counts our own threads. Here the cores' own account is
read twice, and what this process and its descendants took in between is taken off. Time that a
hypervisor gave to other machines counts as others'.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring.processes import family
from benchmarks.rows import QUIET

__all__ = ["Used", "busy_share", "used", "wait_until_quiet"]

# The counters step by a hundredth of a second: over this long a core is known to a fiftieth.
_WINDOW_S = 0.5
_LEAST_S = 0.1
# Of user, nice, system, idle, iowait, irq, softirq and steal; guests are counted as users.
_WORKING = (0, 1, 2, 5, 6, 7)


class Used(NamedTuple):
    """Seconds that cores have worked since they started.

    all_s: of all cores that this process may run on.
    own_s: for this process and its descendants.
    cores: how many cores.
    at: when it was read, in seconds.
    """

    all_s: float
    own_s: float
    cores: int
    at: float


def used() -> Used | None:
    """What was used until now; None where nothing counts it, as outside Linux."""
    try:
        lines = Path("/proc/stat").read_text("ascii").splitlines()
        cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    except (OSError, AttributeError):
        return None
    fields = (line.split() for line in lines if line)
    counts = [list(map(int, own)) for name, *own in fields if name in cores]
    ticks = sum(core[i] for core in counts for i in _WORKING if i < len(core))
    if not ticks:  # a sandbox that has the file and keeps no account
        return None
    own = sum(map(_ticks_of, family(os.getpid())))
    second = os.sysconf("SC_CLK_TCK")
    return Used(ticks / second, own / second, len(counts), time.monotonic())


def _ticks_of(process: int) -> int:
    """Of the process and of the children that it has waited for."""
    try:
        text = Path(f"/proc/{process}/stat").read_text("ascii", errors="replace")
    except OSError:
        return 0
    # After the command's name, which may contain anything, the first field is the third.
    return sum(map(int, text.rpartition(")")[2].split()[11:15]))


def busy_share(before: Used | None, after: Used | None) -> float | None:
    """The share of the cores that other processes kept busy from one reading to the other.

    None where nothing counts it, or the readings are less than a tenth of a second apart.

    Example:
      >>> busy_share(Used(100.0, 40.0, 2, 0.0), Used(115.0, 48.0, 2, 10.0))
      0.35
    """
    if before is None or after is None or after.at - before.at < _LEAST_S:
        return None
    others = (after.all_s - before.all_s) - (after.own_s - before.own_s)
    # Our part is counted more finely than the whole: a little less than nothing is nothing.
    return max(0.0, others / (after.at - before.at) / after.cores)


def wait_until_quiet(
    limit_s: float,
    *,
    read: Callable[[], Used | None] = used,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Wait until others keep less than `QUIET` of the cores busy; the seconds waited.

    No longer than ``limit_s``, and not at all where nothing counts what is busy. The moment of
    looking that even a quiet machine takes is no waiting.
    """
    waited = 0.0
    while limit_s > 0:
        before = read()
        sleep(_WINDOW_S)
        share = busy_share(before, read())
        if share is None or share < QUIET:
            break
        waited += _WINDOW_S
        if waited >= limit_s:
            break
    return waited
