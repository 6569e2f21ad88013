"""Where the time of one layer goes: products, pointwise kernels, copies, and what lies between.

``python -m benchmarks.where --cells lstm --shapes 32x35x256x28`` reads XLA's own profile of a
compiled pass on a CPU: how long its kernels ran, each of a kind that its compiled program tells.
``taskset -c 0`` before it leaves one core.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from benchmarks.groups.recurrence import GRID
from benchmarks.measuring.workloads import CELLS, Recurrence, recurrences
from benchmarks.peers import OURS, build
from benchmarks.reporting.tables import table

__all__ = ["kinds", "main"]

KINDS = ("product", "pointwise", "copy")
PASSES = ("forward", "forward+backward")
_COPIES = ("copy", "transpose", "concatenate", "broadcast", "dynamic-slice", "dynamic-update-slice")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*? ([\w\-]+)\(")
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")


def kinds(text: str) -> dict[str, str]:
    """The kind of every kernel of a compiled program, by its name.

    Example:
      >>> text = jax.jit(lambda x: x @ x).lower(jax.numpy.ones((64, 64))).compile().as_text()
      >>> sorted(set(kinds(text).values()))
      ['product']
    """
    bodies: dict[str, list[tuple[str, str, str]]] = {}
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            body = bodies.setdefault(start[1], [])
        elif (found := _INSTRUCTION.match(line)) and bodies:
            body.append((found[1], found[2], line))
    multiplies = {name for name, body in bodies.items() if any(op == "dot" for _, op, _ in body)}
    known = {}
    for name, op, line in (instruction for body in bodies.values() for instruction in body):
        called = _CALLED.search(line)
        if op == "dot" or (op == "fusion" and called and called[1] in multiplies):
            known[name] = "product"
        elif op in _COPIES or (op == "fusion" and name.startswith(_COPIES)):
            known[name] = "copy"
        elif op == "fusion" or op.startswith("reduce"):
            known[name] = "pointwise"
    return known


def main(arguments: list[str] | None = None) -> int:
    """Print a table: milliseconds of each shape and pass, and what they consist of."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.where", description=__doc__)
    parser.add_argument("--cells", default="lstm,gru,rnn", help="by commas, of rnn, gru and lstm")
    grid = ",".join("x".join(map(str, shape)) for shape in GRID[False])
    parser.add_argument("--shapes", default=grid, help="BxTxHxD by commas")
    parser.add_argument(
        "--calls",
        type=int,
        default=10,
        help="of which the median is taken, and as many profiled; 10",
    )
    options = parser.parse_args(arguments)
    try:
        workloads = _workloads(options.cells.split(","), options.shapes.split(","), options.calls)
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    lines = [_line(w, name, options.calls) for w in workloads for name in PASSES]
    print(f"JAX {jax.__version__}, {len(jax.devices())} device, ms a call\n")
    print(table(lines, ("layer", "pass", "ms", *KINDS, "rest", "page faults")))
    print(
        "\nrest: the call less its kernels. Those that ran side by side count twice, so that it "
        "can be negative; a product over all steps is no kernel of that profile and stands in it."
    )
    return 0


def _workloads(cells: list[str], shapes: list[str], calls: int) -> list[Recurrence]:
    for cell in cells:
        if cell not in CELLS:
            raise ValueError(f"--cells takes {', '.join(CELLS)}, not {cell!r}")
    found = []
    for shape in shapes:
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){3}", shape):
            raise ValueError(f"--shapes takes BxTxHxD, such as 32x35x256x28, not {shape!r}")
        batch, length, hidden, features = map(int, shape.split("x"))
        found.append((batch, length, hidden, features))
    if calls < 1:
        raise ValueError(f"--calls must be at least 1, not {calls}")
    if jax.default_backend() != "cpu":
        raise ValueError("where the time goes is read on a CPU: set JAX_PLATFORMS=cpu")
    return list(recurrences(found, cells, precision="default"))


def _line(workload: Recurrence, name: str, calls: int) -> dict[str, Any]:
    prepared = build(OURS, workload, workload.arrays()).prepare(name)
    assert prepared.text is not None
    call, known = prepared.call, kinds(prepared.text())
    for _ in range(3):
        call()
    seconds, before = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(calls):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    total, spent = 1000 * statistics.median(seconds), _spent(call, known, calls)
    return {
        "layer": f"{workload.cell} {workload.batch}x{workload.length}x{workload.hidden}x"
        f"{workload.features}",
        "pass": name,
        "ms": total,
        **{kind: spent[kind] for kind in KINDS},
        "rest": total - sum(spent.values()),
        "page faults": faults // calls,
    }


def _spent(call: Callable[[], object], known: dict[str, str], calls: int) -> dict[str, float]:
    """Milliseconds a call by kind; kernels that ran side by side count twice."""
    spent = Counter(dict.fromkeys(KINDS, 0.0))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                call()
        (file,) = Path(folder).rglob("*.xplane.pb")
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                for event in line.events:
                    if line.name != "python" and event.name in known:
                        spent[known[event.name]] += event.duration_ns / 1e6 / calls
    return dict(spent)


if __name__ == "__main__":
    sys.exit(main())
