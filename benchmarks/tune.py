"""The first five minutes of the recurrent kernel on a GPU: its settings, each checked and timed.

``python -m benchmarks tune`` runs ``backend="pallas"`` with a dozen settings in one process beside
the scan, forward and forward+backward, in µs a step, and holds every result to the plain scan's
before it times anything; all products of float32 are exact. Of a setting that fails it tells the
error, and goes on. ``--interpret`` takes the same path on a CPU with small shapes, by JAX's
interpreter of such kernels, and times nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import rnn_jax as r
from benchmarks.measuring.laws import relative_error
from benchmarks.measuring.timing import quartiles, round_medians, take_turns
from benchmarks.reporting.tables import table
from rnn_jax.host.files import atomic_path, reason
from rnn_jax.recurrence import Kernel

__all__ = ["SETTINGS", "add_arguments", "run"]

SETTINGS: dict[str, Kernel] = {
    "as chosen": Kernel(),
    **{f"rows={n}": Kernel(rows=n) for n in (1, 2, 4, 8)},
    **{f"unroll={n}": Kernel(unroll=n) for n in (1, 2, 4, 16, 32)},
    "not ahead": Kernel(ahead=False),
    "not resident": Kernel(resident=False),
    "not ahead, unroll=16": Kernel(ahead=False, unroll=16),
}
CELLS: dict[str, Callable[[int], r.Cell]] = {"rnn": r.elman, "gru": r.gru, "lstm": r.lstm}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
# Of an array's largest entry after a hundred steps: sums in another order, roundings to 8 bits.
_OFF = {"float32": 1e-3, "bfloat16": 5e-2}
PASSES = ("forward", "forward+backward")
_ROUNDS, _CALLS = 5, 20
# (batch, length, units): the reference model, binary addition's, and two of a language model's.
_SHAPES, _SMALL = "1x45x100,34x100x120,32x35x128,128x35x256", "3x2x5"
_COLUMNS = ("cell", "shape", "dtype", "setting", "pass", "us_a_step", "of_scan", "off", "note")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("--cells", default="rnn,gru,lstm", help=f"by commas, of {', '.join(CELLS)}")
    add("--shapes", help=f"BxTxH by commas; {_SHAPES}, interpreted {_SMALL}")
    add("--dtypes", default="float32", help=f"by commas, of {', '.join(DTYPES)}")
    add("--settings", help=f"by semicolons; all: {'; '.join(SETTINGS)}")
    add("--seconds", type=float, default=300, help="after which nothing is begun; 300")
    add("--output", type=Path, help="a new file of JSON, complete after every row")
    add("--interpret", action="store_true", help="on a CPU, checks only")


def run(options: argparse.Namespace) -> int:
    """Print a line for every setting as it is done, then a table; 1 where one is wrong or fails.

    Interrupted, it prints the table of what has been done, and its exit code is 130.

    Raises:
      ValueError: an option is of no use, or the file cannot be written.
    """
    cells, dtypes = _of(CELLS, options.cells, ","), _of(DTYPES, options.dtypes, ",")
    settings = _of(SETTINGS, options.settings or ";".join(SETTINGS), ";")
    shapes = _shapes(options.shapes or (_SMALL if options.interpret else _SHAPES))
    if not (math.isfinite(options.seconds) and options.seconds > 0):
        raise ValueError(f"--seconds must be finite and above 0, not {options.seconds:g}")
    if not options.interpret and jax.default_backend() != "gpu":
        raise ValueError("a kernel is timed on a GPU; on a CPU pass --interpret, which checks")
    if options.output is not None and options.output.exists():
        raise ValueError(f"--output {options.output} exists already: name a new file")
    rows: list[dict[str, Any]] = []
    until = time.monotonic() + options.seconds
    # The kernel's own products are exact: with others rounded to TF32 no error could be told.
    with jax.default_matmul_precision("highest"):
        found = _rows(cells, shapes, dtypes, settings, interpret=options.interpret, until=until)
        try:
            for row in found:
                rows.append(row)
                print(json.dumps(row), flush=True)
                if options.output is not None:
                    _write(rows, options.output)
            code = int(any(row["failed"] for row in rows))
        except KeyboardInterrupt:
            code = 130  # as a shell has it
    print()
    print(table([{**row, "off": _scientific(row.get("off"))} for row in rows], _COLUMNS))
    return code


def _scientific(number: float | None) -> str | None:
    return None if number is None else f"{number:.1e}"


def _write(rows: list[dict[str, Any]], file: Path) -> None:
    try:
        with atomic_path(file) as path:
            path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--output {file} cannot be written ({reason(error)})") from None


def _of(known: dict[str, Any], given: str, mark: str) -> list[str]:
    names = [name.strip() for name in given.split(mark)]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return names


def _shapes(given: str) -> list[tuple[int, int, int]]:
    shapes = []
    for shape in given.split(","):
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", shape):
            raise ValueError(f"--shapes takes BxTxH by commas, such as {_SHAPES}, not {shape!r}")
        batch, length, units = map(int, shape.split("x"))
        shapes.append((batch, length, units))
    return shapes


def _rows(
    cells: Sequence[str],
    shapes: Sequence[tuple[int, int, int]],
    dtypes: Sequence[str],
    settings: Sequence[str],
    *,
    interpret: bool,
    until: float,
) -> Iterator[dict[str, Any]]:
    """The most telling first: what is chosen for every shape, then the settings of each."""
    points = [_Point(c, s, d, interpret) for s in shapes for d in dtypes for c in cells]
    for names in (settings[:1], settings[1:]):
        for point in points:
            for setting in names:
                for name in PASSES:
                    if time.monotonic() > until:
                        return
                    if not interpret and name not in point.scans:
                        yield point.scan(name)
                    yield point.row(setting, name)


class _Point:
    """One cell, shape and dtype: its arrays, what the plain scan makes of them, and in what time.

    wanted: by pass, the scan's results.
    scans: by pass, µs a step of ``backend="auto"``; None where it failed.
    """

    def __init__(self, cell: str, shape: tuple[int, int, int], dtype: str, interpret: bool) -> None:
        batch, self.length, units = shape
        self.made, self.dtype, self.interpret = CELLS[cell](units), dtype, interpret
        keys = jax.random.split(jax.random.key(0))
        params = self.made.init(keys[0], units)
        self.params = jax.tree.map(lambda p: p.astype(DTYPES[dtype]), params)
        self.xs = jax.random.normal(keys[1], (self.length, batch, units), DTYPES[dtype])
        self.point = {"cell": cell, "shape": "x".join(map(str, shape)), "dtype": dtype}
        self.wanted: dict[str, Any] = {}
        self.scans: dict[str, float | None] = {}

    def scan(self, name: str) -> dict[str, Any]:
        """What every setting is compared with."""
        return self._tried("scan", name, self._time_scan)

    def row(self, setting: str, name: str) -> dict[str, Any]:
        """One setting, which is timed if its results are right."""
        return self._tried(setting, name, partial(self._check, SETTINGS[setting]))

    def _tried(
        self, setting: str, name: str, found: Callable[[str], dict[str, Any]]
    ) -> dict[str, Any]:
        """A row with what is found; of an error, whatever it is, its type and first line."""
        empty: dict[str, Any] = dict.fromkeys(_COLUMNS)
        row = {**empty, **self.point, "setting": setting, "pass": name, "note": "", "failed": False}
        try:
            return row | found(name)
        except Exception as error:
            # What does not fit says so, and what to take instead.
            if isinstance(error, ValueError) and "backend='auto'" in str(error):
                return row | {"note": str(error).split(":")[0]}
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            return row | {"note": why, "failed": True}

    def _time_scan(self, name: str) -> dict[str, Any]:
        self.scans[name] = None  # unless it succeeds
        run = _pass(self.made, "auto", name)
        taken = self.scans[name] = self._step_us(run)
        return {"us_a_step": taken, "of_scan": 1.0}

    def _check(self, kernel: Kernel, name: str) -> dict[str, Any]:
        run = _pass(self.made, replace(kernel, interpret=self.interpret), name)
        found = jax.device_get(run(self.params, self.xs))
        if name not in self.wanted:
            plain = _pass(self.made, "scan", name)
            self.wanted[name] = jax.device_get(plain(self.params, self.xs))
        errors = jax.tree.leaves(relative_error(found, self.wanted[name]))
        off = math.nan if any(map(math.isnan, errors)) else max(errors)
        if not off <= _OFF[self.dtype]:
            return {"off": off if math.isfinite(off) else None, "note": "WRONG", "failed": True}
        if self.interpret:
            return {"off": off}
        taken, scan = self._step_us(run), self.scans[name]
        return {"off": off, "us_a_step": taken, "of_scan": None if scan is None else taken / scan}

    def _step_us(self, run: Any) -> float:
        """Microseconds a step: the median of rounds of calls that are sent one after the other."""

        wait: Any = jax.block_until_ready

        def calls() -> None:
            for _ in range(_CALLS):
                found = run(self.params, self.xs)
            wait(found)

        rounds = take_turns({"": calls}, _ROUNDS, math.inf, block=1)[""]
        return 1e3 * quartiles(round_medians(rounds), _CALLS * self.length)["median_ms"]


def _pass(cell: r.Cell, backend: Any, name: str) -> Any:
    """A compiled pass: the outputs, or the gradients of a loss of them."""

    def outputs(params: Any, xs: Any) -> Any:
        return r.unroll(cell, params, None, xs, backend=backend)

    def loss(params: Any, xs: Any) -> Any:
        ys = outputs(params, xs)[1].astype(jnp.float32)
        return (ys * jnp.sin(jnp.arange(ys.size, dtype=ys.dtype).reshape(ys.shape))).mean()

    return jax.jit(outputs if name == "forward" else jax.grad(loss, argnums=(0, 1)))
