"""Work shared by processes, its results in order."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

__all__ = ["in_order"]

A = TypeVar("A")
B = TypeVar("B")

_AHEAD = 2  # pieces of work waiting for each process


def in_order(
    function: Callable[[A], B], work: Iterable[A], processes: int, *, preload: str
) -> Generator[B, None, None]:
    """``map(function, work)``, computed by several processes; little of the work is held at once.

    Args:
        function: of a module, so that other processes can import it.
        work: taken as it is needed.
        processes: how many; 1 computes here.
        preload: the module that the processes need.

    Raises:
        ValueError: a process was killed, or could not begin.
    """
    if processes == 1:
        yield from map(function, work)
        return
    # Never a fork of this process, whose threads (JAX has some) would be missing in the copy.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([preload])
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with_parent)
    waiting: deque[Future[B]] = deque()
    try:
        for item in work:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ValueError(
            "a process that tokenised was killed, often for lack of memory, or could not begin, "
            'for the script that asked for it has no `if __name__ == "__main__":`: try again with '
            "fewer --processes, or with all that the script does behind that line"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when the one that began it has ended, in whatever way.

    Who is killed cannot tell its workers, and each of them keeps the pipe open that they wait at.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
