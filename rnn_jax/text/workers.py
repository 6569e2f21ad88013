"""Work shared by processes, its results in order."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from rnn_jax.text.numbering import Reader

__all__ = ["in_order", "worker_count"]

A = TypeVar("A")
B = TypeVar("B")

_AHEAD = 2  # pieces of work waiting for each process
# Bytes of a corpus that are worth the seconds in which processes begin.
_WORTH = {"word": 1 << 25, "char": 1 << 27, "byte": 1 << 28, "subword": 1 << 23}
_WORTH_SENTENCES = 1 << 22
# Others are numbered about as fast as they go from one process to another and back.
_SLOW = ("word", "subword")


def worker_count(processes: int | None, reader: Reader, size: int) -> int:
    """How many processes tokenise a corpus.

    Args:
        processes: as asked for; None: as many as its level is worth.
        reader: how the text is read.
        size: the bytes of the corpus.

    Raises:
        ValueError: a number below 1.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"--processes must be at least 1, not {processes}")
    if size < (_WORTH_SENTENCES if reader.sentences else _WORTH[reader.level]):
        return 1
    if processes is None:
        return _cores() if reader.sentences or reader.level in _SLOW else 1
    return processes


def _cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def in_order(
    function: Callable[[A], B], work: Iterable[A], processes: int, *, preload: Sequence[str]
) -> Generator[B, None, None]:
    """``map(function, work)``, computed by several processes; little of the work is held at once.

    Args:
        function: of a module, so that other processes can import it.
        work: taken as it is needed.
        processes: how many; 1 computes here.
        preload: the modules that the processes need, imported once for all of them.

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
        context.set_forkserver_preload(list(preload))
        from multiprocessing import forkserver  # there is none on Windows

        forkserver.ensure_running()  # imports them while this process finds its first work
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
