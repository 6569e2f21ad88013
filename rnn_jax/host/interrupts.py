"""Signals that ask a process to end, heard between two pieces of work instead of within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interruptions"]

# Ctrl-C; what clusters send before they kill; what a terminal sends when it closes.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def interruptions() -> Iterator[Callable[[], int | None]]:
    """A function that gives the number of the signal that came, None while there was none.

    A second Ctrl-C interrupts as usual. A signal that is ignored, as SIGHUP is behind ``nohup``, or
    that somebody else handles stays as it is; so do all in threads other than the main one.

    Example:
      >>> with interruptions() as interrupted:
      ...     before = interrupted()
      ...     signal.raise_signal(signal.SIGTERM)
      ...     before, interrupted() == signal.SIGTERM
      (None, True)
    """
    came: list[int] = []

    def heard() -> int | None:
        return came[0] if came else None

    def handle(signum: int, frame: FrameType | None) -> None:
        if came and signum == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(signum)

    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    usual = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {n: h for n in numbers if (h := signal.getsignal(n)) in usual}
    try:
        for number in before:
            signal.signal(number, handle)
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
