"""The first five minutes of the recurrent kernel on a GPU: its settings, each checked and timed.

``python -m benchmarks.tune`` runs ``backend="pallas"`` with a dozen settings in one process beside
the scan, forward and forward+backward, in µs a step, and holds every result to the plain scan's
before it times anything; all products of float32 are exact. ``--interpret`` takes the same path on
a CPU with small shapes, by JAX's interpreter of such kernels, and times nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax as r
from benchmarks.reporting.tables import table
from rnn_jax.host.files import atomic_path, reason
from rnn_jax.recurrence import Kernel

__all__ = ["SETTINGS", "main"]

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
# Of a leaf's largest entry, after a hundred steps: sums in another order, and roundings to 8 bits.
_OFF = {"float32": 1e-3, "bfloat16": 5e-2}
PASSES = ("forward", "forward+backward")
# (batch, length, units): the reference model, binary addition's, and two of a language model's.
_SHAPES, _SMALL = "1x45x100,34x100x120,32x35x128,128x35x256", "3x2x5"
_COLUMNS = ("cell", "shape", "dtype", "setting", "pass", "us_a_step", "of_scan", "off", "note")


def main(arguments: list[str] | None = None) -> int:
    """Print a line for every setting as it is done, then a table; 1 where a result is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__)
    parser.add_argument("--cells", default="rnn,gru,lstm", help=f"by commas, of {', '.join(CELLS)}")
    parser.add_argument("--shapes", help=f"BxTxH by commas; {_SHAPES}, interpreted {_SMALL}")
    parser.add_argument("--dtypes", default="float32", help=f"by commas, of {', '.join(DTYPES)}")
    parser.add_argument("--settings", help=f"by semicolons; all: {'; '.join(SETTINGS)}")
    parser.add_argument("--seconds", type=float, default=300, help="after which nothing is begun")
    parser.add_argument("--output", type=Path, help="a file of JSON, written anew with every row")
    parser.add_argument("--interpret", action="store_true", help="on a CPU, checks only")
    options = parser.parse_args(arguments)
    try:
        cells, dtypes = _of(CELLS, options.cells, ","), _of(DTYPES, options.dtypes, ",")
        settings = _of(SETTINGS, options.settings or ";".join(SETTINGS), ";")
        shapes = _shapes(options.shapes or (_SMALL if options.interpret else _SHAPES))
        if not options.interpret and jax.default_backend() != "gpu":
            raise ValueError("a kernel is timed on a GPU; on a CPU pass --interpret, which checks")
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    until = time.monotonic() + options.seconds
    # The kernel's own products are exact: with others rounded to TF32 no error could be told.
    with jax.default_matmul_precision("highest"):
        found = _rows(cells, shapes, dtypes, settings, interpret=options.interpret, until=until)
        for row in found:
            rows.append(row)
            print(json.dumps(row), flush=True)
            if options.output is not None and (why := _written(rows, options.output)):
                print(f"benchmarks: {options.output}: {why}", file=sys.stderr)
                return 2
    print()
    print(table(rows, _COLUMNS))
    return int(any(row["note"] == "WRONG" for row in rows))


def _written(rows: list[dict[str, Any]], file: Path) -> str | None:
    """Write them; why they cannot be."""
    try:
        with atomic_path(file) as path:
            path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        return reason(error)
    return None


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
    scans: by pass, µs a step of ``backend="auto"``.
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
        self.scans: dict[str, float] = {}

    def _line(self, setting: str, name: str) -> dict[str, Any]:
        empty: dict[str, Any] = dict.fromkeys(_COLUMNS)
        return {**empty, **self.point, "setting": setting, "pass": name, "note": ""}

    def scan(self, name: str) -> dict[str, Any]:
        """What every setting is compared with."""
        run = _pass(self.made, "auto", name)
        self.scans[name] = _time(run, self.params, self.xs) / self.length
        return {**self._line("scan", name), "us_a_step": self.scans[name], "of_scan": 1.0}

    def row(self, setting: str, name: str) -> dict[str, Any]:
        """One setting, which is timed if its results are right."""
        row, kernel = self._line(setting, name), SETTINGS[setting]
        run = _pass(self.made, replace(kernel, interpret=self.interpret), name)
        try:
            found = jax.device_get(run(self.params, self.xs))
        except ValueError as error:  # what does not fit says so
            return {**row, "note": str(error).split(":")[0]}
        if name not in self.wanted:
            plain = _pass(self.made, "scan", name)
            self.wanted[name] = jax.device_get(plain(self.params, self.xs))
        row["off"] = _off(found, self.wanted[name])
        if not row["off"] <= _OFF[self.dtype]:
            row["note"] = "WRONG"
        elif not self.interpret:
            row["us_a_step"] = _time(run, self.params, self.xs) / self.length
            row["of_scan"] = row["us_a_step"] / self.scans[name]
        return row


def _pass(cell: r.Cell, backend: Any, name: str) -> Any:
    """A compiled pass: the outputs, or the gradients of a loss of them."""

    def outputs(params: Any, xs: Any) -> Any:
        return r.unroll(cell, params, None, xs, backend=backend)

    def loss(params: Any, xs: Any) -> Any:
        ys = outputs(params, xs)[1].astype(jnp.float32)
        return (ys * jnp.sin(jnp.arange(ys.size, dtype=ys.dtype).reshape(ys.shape))).mean()

    return jax.jit(outputs if name == "forward" else jax.grad(loss, argnums=(0, 1)))


def _off(found: Any, wanted: Any) -> float:
    """The largest error of any entry, of the largest entry of its array; not a number if any is."""

    def leaf(a: Any, b: Any) -> float:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))

    return float(np.max(jax.tree.leaves(jax.tree.map(leaf, found, wanted))))


def _time(run: Any, *arguments: Any, calls: int = 20, rounds: int = 5) -> float:
    """Microseconds a call: the median of some rounds, each of calls one after the other."""
    wait: Any = jax.block_until_ready
    wait(run(*arguments))
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            found = run(*arguments)
        wait(found)
        taken.append(1e6 * (time.perf_counter() - start) / calls)
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
