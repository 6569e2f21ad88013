"""Whether the machine is quiet: others' share of the cores, and the wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from benchmarks.measuring.processes import family
from benchmarks.measuring.quiet import Used, busy_share, used, wait_until_quiet
from benchmarks.rows import QUIET

LINUX = sys.platform == "linux"


class Machine:
    """Two cores of which others use a share that changes with every look, and ours a quarter."""

    def __init__(self, *shares: float) -> None:
        self.shares, self.now, self.others, self.own = list(shares), 0.0, 0.0, 0.0

    def read(self) -> Used:
        return Used(self.others + self.own, self.own, 2, self.now)

    def sleep(self, seconds: float) -> None:
        share = self.shares.pop(0) if len(self.shares) > 1 else self.shares[0]
        self.now += seconds
        self.others += 2 * share * seconds
        self.own += 0.5 * seconds

    def wait(self, limit_s: float) -> float:
        return wait_until_quiet(limit_s, read=self.read, sleep=self.sleep)


def test_a_quiet_machine_is_not_waited_for() -> None:
    assert Machine(QUIET / 2).wait(60) == 0
    busy = Machine(1.0)
    assert busy.wait(0) == 0 and busy.now == 0


def test_it_waits_until_others_are_done_and_no_longer_than_its_limit() -> None:
    machine = Machine(0.9, 0.3, 2 * QUIET, QUIET / 2)
    assert machine.wait(60) == 1.5 and machine.now == 2.0
    machine = Machine(0.9)
    assert machine.wait(3) == 3.0 == machine.now


def test_where_nothing_counts_it_there_is_no_wait() -> None:
    slept: list[float] = []
    assert wait_until_quiet(60, read=lambda: None, sleep=slept.append) == 0
    assert len(slept) <= 1 and busy_share(None, None) is None


def test_a_share_needs_a_while() -> None:
    assert busy_share(Used(1.0, 0.5, 2, 0.0), Used(1.1, 0.5, 2, 0.05)) is None
    # Ours is counted in finer steps: less than nothing is nothing.
    assert busy_share(Used(1.0, 0.5, 2, 0.0), Used(1.5, 1.1, 2, 1.0)) == 0


@pytest.mark.skipif(not LINUX, reason="/proc is Linux's")
def test_this_process_and_what_it_started_are_no_others() -> None:
    code = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    before = used()
    if before is None:
        pytest.skip("nothing counts what the cores do")
    child = subprocess.Popen([sys.executable, "-c", f"{code}\ninput()"], stdin=subprocess.PIPE)
    try:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        while child.pid not in family(os.getpid()):
            time.sleep(0.01)
        deadline = time.monotonic() + 30
        while (after := used()) is not None and after.own_s - before.own_s < 0.38:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # until the child has worked, alive or not
    finally:
        child.communicate(b"\n")
    reaped = used()
    assert after is not None and reaped is not None
    # Waited for, its time is ours; nothing is counted twice.
    assert after.own_s - 0.05 <= reaped.own_s < after.own_s + 1.0
    assert family(child.pid) == []
