"""A process of its own for one implementation: its memory is its own, and so is its JAX.

How many devices a CPU is for JAX is settled when it starts, and what one implementation imports and
keeps in memory must not be counted as another's. The process imports nothing of the suite but this
file and what it is told to.
"""

from __future__ import annotations

import math
import os
import pickle
import select
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from benchmarks.measuring.memory import highest_resident, resident

__all__ = ["Worker"]

_SAMPLE_S = 0.005  # between two looks at the memory of a call


class Worker:
    """A process in which ``function(*arguments)`` was called; it gave functions by their names.

    before: bytes resident in it once that was done; None where nothing counts them.
    highest: the most while a watched call ran, in all processes that it has started, too.
    """

    def __init__(
        self,
        function: str,
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        stderr: IO[bytes] | None = None,
        timeout_s: float = math.inf,
    ) -> None:
        """Start it, and call ``module:function`` in there.

        Raises:
          Exception: what the function raised; `TimeoutError` as of `call`.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=Path(__file__).parents[2],
            env=os.environ | dict(environment or {}),
        )
        self._end = weakref.finalize(self, _end, self._process)
        self.highest: int | None = None
        self._ask((function, arguments), timeout_s=timeout_s)
        self.before = resident(self._process.pid)

    def call(
        self, name: str, *arguments: Any, watch: bool = False, timeout_s: float = math.inf
    ) -> Any:
        """What its function of this name gives; with ``watch`` memory is looked at meanwhile.

        Raises:
          Exception: what the function raised; `TimeoutError` where it took longer than
            ``timeout_s``, after which there is no process any more.
        """
        return self._ask((name, arguments), watch, timeout_s)

    def close(self) -> None:
        """End it, which otherwise comes with the last reference to it."""
        self._end()

    def _ask(self, request: Any, watch: bool = False, timeout_s: float = math.inf) -> Any:
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None and answers is not None
        try:
            pickle.dump(request, questions)
            questions.flush()
            while watch and not select.select([answers], [], [], _SAMPLE_S)[0]:
                self._look(resident)
            if timeout_s < math.inf and not select.select([answers], [], [], timeout_s)[0]:
                self._process.kill()
                raise TimeoutError(f"it was ended after {timeout_s:.0f} s, for lack of time")
            raised, answer = pickle.load(answers)
        except (EOFError, BrokenPipeError):
            raise RuntimeError(f"its process ended with {self._process.wait()}") from None
        if raised:
            raise answer
        if watch:
            self._look(highest_resident)
        return answer

    def _look(self, count: Callable[[int], int | None]) -> None:
        found = count(self._process.pid)
        if found is not None:
            self.highest = max(found, self.highest or 0)


def _end(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    try:
        process.wait(10)  # it ends with its last question
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer questions until there are none."""
    functions: Mapping[str, Callable[..., Any]] = {}
    while True:
        try:
            name, arguments = pickle.load(questions)
        except EOFError:
            return
        try:
            if ":" in name:
                module, name = name.split(":")
                functions = getattr(import_module(module), name)(*arguments)
                answer: tuple[bool, Any] = False, None
            else:
                answer = False, functions[name](*arguments)
        except Exception as error:
            answer = True, _portable(error)
        pickle.dump(answer, answers)
        answers.flush()


def _portable(error: Exception) -> Exception:
    """The error, or one like it that can be sent."""
    error = error.with_traceback(None)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    # What a library prints must not stand among the answers.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        _serve(sys.stdin.buffer, out)
