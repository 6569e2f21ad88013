"""Work shared by processes, its results in order."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
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
        ValueError: a process was killed.
    """
    if processes == 1:
        yield from map(function, work)
        return
    # Never a fork of this process, whose threads (JAX has some) would be missing in the copy.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([preload])
    pool = ProcessPoolExecutor(processes, mp_context=context)
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
            "a process that tokenised was killed, often for lack of memory: try again with fewer "
            "--processes"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
