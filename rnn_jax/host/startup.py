"""What the command does before it imports what it needs, which takes a second or more.

Until then, Ctrl-C ends it at once. Memory that it frees later on is kept for what comes next.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import PurePath
from types import FrameType

from rnn_jax.host.memory import keep_freed_memory

__all__ = ["interrupts_as_usual"]


def interrupts_as_usual() -> None:
    """Undo what importing this module did: from here on there may be something to save."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command() -> bool:
    name = PurePath(sys.argv[0] if sys.argv else "").name
    as_module = name == "-m" and "rnn_jax" in sys.orig_argv[1:]
    return as_module or name in ("rnn-jax", "rnn-jax.exe")


def _end(signum: int, frame: FrameType | None) -> None:
    # Not by an exception: half-imported extensions turn that into others. Nothing is lost yet.
    os.write(2, b"interrupted\n")
    os._exit(130)


# In a process that was started as the command; importing the package anywhere else changes nothing.
if _is_command():
    keep_freed_memory()
    # Where it was ignored, as behind nohup, it stays so.
    _usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if _usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _end)
