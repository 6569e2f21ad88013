"""Cases measured in a process of their own, so that nothing that becomes of it ends the run.

The process that asks has no device: a kernel that breaks one, a signal or a lack of memory ends the
process that measures, and another one goes on after it. Cases with variables of their own, such as
``XLA_FLAGS``, get a process that has them. Only one runs at a time, for a TPU belongs to one.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import jax.numpy as jnp

from benchmarks.measuring.case import Case
from benchmarks.measuring.machine import environment, now
from benchmarks.measuring.numbers import computing_in
from benchmarks.measuring.roofline import Roofline
from benchmarks.measuring.runner import Limits, measure, without_time
from benchmarks.measuring.worker import Worker
from benchmarks.rows import Key, Row

__all__ = ["Isolated", "Planned", "serve"]

_MESSAGE = re.compile(r"^[EF]\d+ [^]]*\] (.*)", re.MULTILINE)  # what XLA logs before it aborts
_START_S = 120.0
# What a process is given to hand back what it has, before it is ended.
_GRACE_S = 10.0


class Planned(NamedTuple):
    """A case, and how JAX computes while it is measured."""

    case: Case
    dtype: str
    precision: str


class Isolated:
    """Measures the cases of a plan, each by its index.

    plan: ``"module:function"``, which gives the plan for ``arguments``, there as here.
    """

    def __init__(self, plan: str, *arguments: Any) -> None:
        self._plan = plan, arguments
        self._worker: Worker | None = None
        self._variables: dict[str, str] = {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._where: dict[str, Any] = {}

    def where(self) -> dict[str, Any]:
        """What rows state about the machine.

        Raises:
          RuntimeError: no process can use a device.
        """
        if not self._where:
            try:
                self._where = self._process({}, _START_S).call("where", timeout_s=_START_S)
            except Exception as error:
                raise self._reason(error) from None
        return self._where

    def measure(
        self,
        index: int,
        planned: Planned,
        limits: Limits,
        done: frozenset[Key],
        ceilings: Roofline | None = None,
    ) -> list[Row]:
        """The rows of a case that are not ``done``, held against ``ceilings``.

        Where its process ends, each implementation is tried by itself. ``limits.left_s`` bounds it
        from outside: what has not come by then is a row with that reason.
        """
        began, case = time.perf_counter(), planned.case
        inside = replace(limits, left_s=max(limits.left_s - _GRACE_S, limits.left_s / 2))
        try:
            process = self._process(case.environment, limits.left_s)
            question = index, case.implementations, inside, done, ceilings
            rows, healthy = process.call("measure", *question, timeout_s=limits.left_s)
            if not healthy:
                self._end()
            return list(rows)
        except Exception as error:
            reason = self._reason(error)
            self._end()
        rows = []
        for name in case.implementations:
            alone = planned._replace(case=case.only((name,)))
            left = limits.left_s - (time.perf_counter() - began)
            if len(case.implementations) == 1 or left <= 0:
                rows += without_time(alone.case, reason, self._where_of(planned), done)
            else:
                rows += self.measure(index, alone, replace(limits, left_s=left), done, ceilings)
        return rows

    def _where_of(self, planned: Planned) -> dict[str, Any]:
        """What a row states where no process is left to tell; `where` is of the run's start."""
        flags = _added(planned.case.environment).get("XLA_FLAGS", self._where["xla_flags"])
        return self._where | now() | {"xla_flags": flags, "matmul_precision": planned.precision}

    def close(self) -> None:
        """End the process, if there is one, for good."""
        self._end()
        self._log.close()

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = None

    def _process(self, variables: Mapping[str, str], seconds: float) -> Worker:
        """One with these variables beside those of all."""
        if self._worker is None or self._variables != dict(variables):
            self._end()
            self._log.seek(0)
            self._log.truncate()
            self._variables = dict(variables)
            self._worker = Worker(
                f"{__name__}:serve",
                *self._plan,
                environment={**_with_host(), **_added(variables)},
                stderr=self._log,
                timeout_s=seconds,
            )
        return self._worker

    def _reason(self, error: Exception) -> Exception:
        """The error, with what XLA said before it ended the process."""
        self._log.seek(0)
        said = _MESSAGE.findall(self._log.read().decode(errors="replace"))
        if said and "its process ended" in str(error):
            return RuntimeError(f"{error}: {said[0]}")
        return error


def _added(variables: Mapping[str, str]) -> dict[str, str]:
    """Behind what the variables hold already."""
    return {n: f"{os.environ.get(n, '')} {value}".strip() for n, value in variables.items()}


def _with_host() -> dict[str, str]:
    """The CPU beside the platforms that are asked for: references are computed there."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    return {"JAX_PLATFORMS": f"{asked},cpu"} if asked and "cpu" not in asked else {}


def serve(plan: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """What the process answers to: where it is, and the rows of a case."""
    module, function = plan.split(":")
    planned = getattr(import_module(module), function)(*arguments)
    return {"where": environment, "measure": partial(_measure, planned)}


def _measure(
    plan: list[Planned],
    index: int,
    names: tuple[str, ...],
    limits: Limits,
    done: frozenset[Key],
    ceilings: Roofline | None,
) -> tuple[list[Row], bool]:
    """The rows, and whether the device is still of use."""
    case, dtype, precision = plan[index]
    with computing_in(dtype, precision):
        # The one who asked writes them.
        rows = measure(
            case.only(names), lambda row: None, limits=limits, roofline=ceilings, done=done
        )
    failed = any(row["status"] in ("failed", "out-of-memory") for row in rows)
    return rows, not failed or _computes()


def _computes() -> bool:
    try:
        return float(jnp.ones(3).sum()) == 3.0
    except Exception:
        return False
