"""``python -m benchmarks recurrence``: one recurrent layer, forward and backward, beside peers."""

from __future__ import annotations

import argparse
import contextlib
import gc
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.implementation import PASSES, STEPS, Prepared, Unavailable
from benchmarks.oracle import check, expected
from benchmarks.output import print_table, row_writer
from benchmarks.peers import IMPLEMENTATIONS, OURS, build, versions
from benchmarks.summary import SUMMARY_COLUMNS, summarise
from benchmarks.timing import environment, quartiles, take_turns
from benchmarks.workloads import CELLS, GRID, QUICK, Arrays, Recurrence, recurrences

__all__ = ["add_arguments", "choose", "measure", "run"]

COLUMNS = (
    "implementation", "equations", "median_ms", "q25_ms", "q75_ms", "ratio", "calls", "compile_s",
    "temp_bytes", "reason",
)  # fmt: skip

# A call of 20 steps is long, so that only the nearest peers take it; torch says why it does not.
MANY_STEPS = (OURS, "torch", "flax-linen", "flax-linen-optimized", "haiku")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--out", metavar="FILE", help="write rows to a new file of JSON lines")
    parser.add_argument("--quick", action="store_true", help="a try-out: 3 rounds, small shapes")
    parser.add_argument(
        "--select",
        metavar="SUBSTRING",
        default="",
        help="only workload/pass names with it, such as lstm-32x35x256x28/forward+backward",
    )
    parser.add_argument("--cells", metavar="A,B", help=f"of {', '.join(CELLS)}; all")
    parser.add_argument(
        "--implementations", metavar="A,B", help=f"of {', '.join(IMPLEMENTATIONS)}; all"
    )
    parser.add_argument("--rounds", type=int, help="at most, of every workload and pass; 20")
    parser.add_argument(
        "--budget",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="of a workload and pass: after it no round is begun, but for the first 3; 60",
    )


def run(options: argparse.Namespace) -> None:
    """Measure, print a table for every workload and pass, save its rows; then the summary."""
    cells = choose("--cells", options.cells, CELLS)
    names = choose("--implementations", options.implementations, IMPLEMENTATIONS)
    rounds = options.rounds if options.rounds is not None else 3 if options.quick else 20
    if rounds < 1:
        raise ValueError(f"--rounds must be at least 1, not {rounds}")
    if not options.budget >= 0:
        raise ValueError(f"--budget must be at least 0 seconds, not {options.budget}")
    todo = [
        (workload, pass_name, chosen)
        for workload in recurrences(QUICK if options.quick else GRID, cells)
        for pass_name in PASSES
        if options.select in f"{workload.name}/{pass_name}"
        and (chosen := [n for n in names if pass_name != "many-steps" or n in MANY_STEPS])
    ]
    if not todo:
        raise ValueError(
            f"nothing is left to measure: --select takes a part of a workload and pass such as "
            f"{recurrences(GRID, cells)[0].name}/{PASSES[0]}"
        )
    write = row_writer(options.out)
    everything = []
    for workload, pass_name, chosen in todo:
        rows = measure(workload, pass_name, chosen, rounds=rounds, budget_s=options.budget)
        for row in rows:
            write(row)
        print(f"\n{workload.name}, {pass_name}\n")
        print_table(rows, COLUMNS)
        everything += rows
    print(f"\nTime of a peer divided by that of {OURS}\n")
    print_table(summarise(everything), SUMMARY_COLUMNS)


def choose(
    option: str, wanted: str | None, known: Sequence[str] | dict[str, Any]
) -> tuple[str, ...]:
    """The names of a list with commas, each of which must be known; all when none is given."""
    names = tuple(known) if wanted is None else tuple(wanted.split(","))
    for name in names:
        if name not in known:
            raise ValueError(f"{option} must be of {', '.join(known)}, not {name!r}")
    return tuple(dict.fromkeys(names))


def measure(
    workload: Recurrence, pass_name: str, names: Sequence[str], *, rounds: int, budget_s: float
) -> list[dict[str, Any]]:
    """A row for every implementation; those which are right take turns, the rest say a reason."""
    arrays = workload.arrays()
    rows = {name: _row(workload, pass_name, name) for name in names}
    wanted: dict[str, Arrays] = {}
    ready: dict[str, Prepared] = {}
    for name in names:
        with _failing_as_a_row(rows[name]):
            implementation = build(name, workload, arrays)
            equations = implementation.equations
            rows[name]["equations"] = equations
            prepared = implementation.prepare(pass_name)
            if equations not in wanted:
                wanted[equations] = expected(equations, arrays, pass_name)
            # The first call is also the warm-up.
            check(prepared.result(), wanted[equations], pass_name)
            ready[name] = prepared
    wanted.clear()
    gc.collect()
    seconds = take_turns({name: p.call for name, p in ready.items()}, rounds, budget_s)
    for name, taken in seconds.items():
        rows[name] |= quartiles(taken, STEPS if pass_name == "many-steps" else 1) | {
            "calls": len(taken),
            "compile_s": ready[name].compile_s,
            "temp_bytes": ready[name].temp_bytes,
        }
    if OURS in seconds:
        for name in seconds.keys() - {OURS}:
            rows[name]["ratio"] = rows[name]["median_ms"] / rows[OURS]["median_ms"]
    return list(rows.values())


def _row(workload: Recurrence, pass_name: str, name: str) -> dict[str, Any]:
    return {
        **workload.facts(),
        "pass": pass_name,
        "implementation": name,
        **dict.fromkeys(COLUMNS[1:]),
        "steps_per_call": STEPS if pass_name == "many-steps" else 1,
        "versions": versions(name),
        **environment(),
    }


@contextlib.contextmanager
def _failing_as_a_row(row: dict[str, Any]) -> Iterator[None]:
    """Whatever a peer raises becomes the row's reason: the others are measured all the same."""
    try:
        yield
    except Unavailable as error:
        row["reason"] = str(error)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        row["reason"] = f"{type(error).__name__}: {first}"
