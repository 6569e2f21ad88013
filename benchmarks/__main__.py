"""The benchmark suite: every group of workloads, or those that are named.

``python -m benchmarks report FILE…`` makes a page of result files, ``python -m benchmarks compare
OLD NEW`` says what changed beyond noise, ``python -m benchmarks scale`` reckons what many devices
send each other, ``python -m benchmarks accelerator`` takes some minutes of a GPU or TPU,
``python -m benchmarks tune`` checks and times the settings of the recurrent kernel.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import jax

from benchmarks.groups import GROUPS
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.machine import environment
from benchmarks.measuring.numbers import computing_in
from benchmarks.measuring.quiet import wait_until_quiet
from benchmarks.measuring.roofline import Roofline
from benchmarks.measuring.runner import Limits, lacking, run
from benchmarks.measuring.system import chosen_by_hand
from benchmarks.measuring.workloads import CELLS, DTYPES, PRECISIONS
from benchmarks.peers import IMPLEMENTATIONS
from benchmarks.reporting.page import sureness
from benchmarks.reporting.summary import noted, summarise, summary
from benchmarks.reporting.tables import UNSURE, table
from benchmarks.result_files import new_file, read_rows, resumed_on
from benchmarks.rows import QUIET, Row, settled, unsteady
from rnn_jax.host.files import reason

# Commands of their own: modules with `add_arguments(parser)` and `run(options)`.
COMMANDS = {
    "accelerator": "benchmarks.accelerator.command",
    "report": "benchmarks.reporting.report",
    "compare": "benchmarks.reporting.compare",
    "scale": "benchmarks.reporting.scale",
    "tune": "benchmarks.tune",
}
_CEILING_S = 2.0  # the best of the calls counts, so that few rounds are enough


def main(arguments: list[str] | None = None) -> int:
    """Run a command; bad input is one sentence on stderr and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name = arguments[0] if arguments and arguments[0] in COMMANDS else None
    prog = "python -m benchmarks"
    if name is None:
        parser = argparse.ArgumentParser(prog=prog, description=__doc__)
        add_arguments(parser)
        command, rest = measure, arguments
    else:
        module = import_module(COMMANDS[name])
        parser = argparse.ArgumentParser(prog=f"{prog} {name}", description=module.__doc__)
        module.add_arguments(parser)
        command, rest = module.run, arguments[1:]
    options = parser.parse_args(rest)
    try:
        return command(options) or 0
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as by `| head`; Python would report it once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        name = "a file" if error.filename is None else error.filename
        print(f"benchmarks: {name} cannot be written ({reason(error)})", file=sys.stderr)
        return 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a measurement."""
    add = parser.add_argument
    add("groups", metavar="GROUP", nargs="*", help=f"of {', '.join(GROUPS)}; {_unless_named()}")
    add("--quick", action="store_true", help="a try-out: small shapes, 3 rounds, no torch.compile")
    add(
        "--select",
        metavar="SUBSTRING",
        default="",
        help="only group/workload/pass names with it, such as lstm-32x35x256x28/forward+backward",
    )
    add("--cells", metavar="A,B", help=f"of {', '.join(CELLS)}, in groups of layers; all")
    add("--implementations", metavar="A,B", help="such as rnn_jax,torch; all")
    add("--dtype", choices=DTYPES, default="float32", help="of parameters and inputs; float32")
    add(
        "--precision",
        choices=PRECISIONS,
        default="highest",
        help="of float32 products, ours and the peers': highest is float32 itself, the others are "
        "TF32 on a GPU; highest",
    )
    add(
        "--corpus-mb",
        metavar="A,B",
        help="sizes of the generated text, in groups that read one, such as 10,100,1000; 10",
    )
    add("--rounds", type=int, help="at most, of every workload and pass; 20")
    add(
        "--case-budget",
        metavar="SECONDS",
        type=float,
        default=20.0,
        help="of a workload and pass: after it no round is begun, but for the first 6, or for "
        "3 if one alone takes longer; 20",
    )
    add(
        "--budget",
        metavar="SECONDS",
        type=float,
        help="of the whole run: the most telling workloads come first, and when it is spent none "
        "is begun",
    )
    add(
        "--wait",
        metavar="SECONDS",
        type=float,
        help="at most, before each workload and pass, until other processes keep less than "
        f"{100 * QUIET:.0f} %% of the cores busy; what is measured beside busier ones is marked; "
        "60, with --quick 0",
    )
    add("--out", metavar="FILE", help="write rows to a new file of JSON lines")
    add("--resume", metavar="FILE", help="measure what a file of --out lacks, and append it")
    add("--list", action="store_true", help="print what would be measured")
    add("--profile", metavar="DIR", help="write a trace of jax.profiler, of one workload and pass")
    add("--hlo", metavar="DIR", help="write the text of every program that JAX compiles")


def _of_any_machine() -> list[str]:
    return [name for name, group in GROUPS.items() if not group.accelerator_only]


def _unless_named() -> str:
    left = ", ".join(name for name in GROUPS if name not in _of_any_machine())
    return f"all but {left}, which `accelerator` measures"


def measure(options: argparse.Namespace) -> int:
    """Measure what is chosen, print a table for every case and a summary, save the rows."""
    groups = choose("GROUP", options.groups or _of_any_machine(), GROUPS)
    cells = None if options.cells is None else choose("--cells", options.cells.split(","), CELLS)
    sizes = _sizes(options.corpus_mb)
    settings = Options(
        options.quick, options.dtype, options.precision, cells, sizes,
        jax.default_backend(), jax.device_count(),
    )  # fmt: skip
    limits = _limits(options)
    listed = [c for g in groups for c in GROUPS[g].cases(settings)]
    cases = _chosen(listed, options)
    if options.list:
        done = settled(read_rows(options.resume)) if options.resume else frozenset()
        lines = [
            {
                "group": c.group,
                "workload": c.workload,
                "pass": c.pass_name,
                "implementations": ", ".join(c.implementations),
            }
            for c in lacking(cases, done)
        ]
        print(table(lines, ("group", "workload", "pass", "implementations")))
        return 0
    if options.profile and len(cases) != 1:
        raise ValueError(
            f"--profile traces one workload and pass, and {len(cases)} are chosen: --select one"
        )
    if options.profile and cases[0].ours not in cases[0].implementations:
        raise ValueError(f"--profile traces {cases[0].ours}: name it in --implementations")
    if options.hlo and Path(options.hlo).exists():
        raise ValueError(f"--hlo {options.hlo} exists already: name a new folder")
    if options.out and options.resume:
        raise ValueError("--out makes a new file and --resume goes on with one: give one of them")
    if options.resume:
        old, write = resumed_on(options.resume, environment())
    else:
        old, write = [], new_file(options.out)
    rows: list[Row] = []
    budget = options.budget

    def show(case: Case, new: list[Row]) -> None:
        if case.timed or any(row["status"] != "ok" for row in new):
            print(f"\n{case.group}: {case.workload}, {case.pass_name}\n", flush=True)
            print(table(new, GROUPS[case.group].columns), flush=True)
            if unsure := {row["implementation"]: unsteady(row) for row in new if unsteady(row)}:
                reasons = (f"{name}: {', '.join(why)}" for name, why in unsure.items())
                print(f"\n{UNSURE} {'; '.join(reasons)}", flush=True)

    if variables := chosen_by_hand():
        print(f"set in the environment, and decisive for threads or kernels: {variables}")
    began = time.perf_counter()
    with computing_in(options.dtype, options.precision):
        if waited := wait_until_quiet(limits.wait_s):
            print(f"waited {waited:.0f} s for a quiet machine", flush=True)
        first, roofline = _ceilings(settings, old, write, limits)
        rows += first
        busy = max((row["busy_share"] or 0.0 for row in first), default=0.0)
        if roofline is not None:
            print(
                f"{environment()['device']}: {roofline.gemm_gflops_per_s:.0f} GFLOP/s in the best "
                f"{options.dtype} product, {roofline.copy_gb_per_s:.1f} GB/s in memory"
                + (f" {UNSURE} others kept {busy:.0%} of the cores busy" if busy >= QUIET else "")
            )
        new, left = run(
            cases,
            write,
            limits=limits,
            roofline=roofline,
            done=settled([*old, *first]),
            budget_s=None if budget is None else budget - (time.perf_counter() - began),
            hlo=None if options.hlo is None else Path(options.hlo),
            profile=None if options.profile is None else Path(options.profile),
            on_case=show,
        )
        rows += new
    for group in GROUPS.values():
        if group.closing is not None:
            group.closing([row for row in rows if row["group"] == group.name])
    compared = summarise(row for row in rows if GROUPS[row["group"]].summarised)
    if compared:
        print("\nTime of a peer divided by that of rnn_jax\n")
        print(summary(compared))
    if sentence := sureness(noted(rows)):
        print(f"\n{sentence}")
    missing = [row for row in rows if row["status"] != "ok"]
    print(
        f"\n{len(rows)} rows" + (f", {len(missing)} without a time: see above" if missing else "")
    )
    if left:
        left_by_group = Counter(case.group for case in left)
        print(
            f"the budget of {options.budget:g} s left out: "
            + ", ".join(f"{count} of {name}" for name, count in left_by_group.items())
        )
    return 0


def _ceilings(
    settings: Options, old: list[Row], write: Callable[[Row], None], limits: Limits
) -> tuple[list[Row], Roofline | None]:
    """New rows of the groups that measure the machine's ceilings, and what all such rows say.

    They are measured whatever is chosen: other rows state their share of them.
    """
    rows: list[Row] = []
    roofline = None
    # They follow one another within a minute or two: one wait, before the first, is enough.
    short = replace(limits, case_s=min(limits.case_s, _CEILING_S), wait_s=0.0)
    for group in (group for group in GROUPS.values() if group.roofline is not None):
        cases = group.cases(settings)
        if not {case.workload for case in cases} <= {row["workload"] for row in old}:
            print(f"{group.name} first, which take a minute or two", flush=True)
        new, _ = run(cases, write, limits=short, done=settled(old))
        rows += new
        own = [
            row
            for row in (*old, *new)
            if row["group"] == group.name
            and (row["dtype"], row["precision"]) == (settings.dtype, settings.precision)
        ]
        assert group.roofline is not None
        roofline = group.roofline(noted(own))
    return rows, roofline


def choose(option: str, wanted: Sequence[str] | None, known: Sequence[str] | dict[str, Any]) -> Any:
    """The wanted names, each of which must be known; all when none is given."""
    names = tuple(known) if wanted is None else tuple(wanted)
    for name in names:
        if name not in known:
            raise ValueError(f"{option} must be of {', '.join(known)}, not {name!r}")
    return tuple(dict.fromkeys(names))


def _sizes(given: str | None) -> tuple[float, ...] | None:
    if given is None:
        return None
    try:
        sizes = tuple(float(size) for size in given.split(","))
    except ValueError:
        sizes = ()
    if not sizes or not all(0.02 <= size <= 1e5 for size in sizes):
        raise ValueError(
            f"--corpus-mb must be sizes from 0.02 to 100000 with commas between them, not {given!r}"
        )
    return tuple(dict.fromkeys(sizes))


def _limits(options: argparse.Namespace) -> Limits:
    rounds = options.rounds if options.rounds is not None else 3 if options.quick else 20
    if rounds < 1:
        raise ValueError(f"--rounds must be at least 1, not {rounds}")
    for name in ("budget", "case_budget", "wait"):
        seconds = getattr(options, name)
        if seconds is not None and not 0 <= seconds < math.inf:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} must be at least 0 seconds, and finite, not {seconds}")
    wait_s = options.wait if options.wait is not None else 0.0 if options.quick else 60.0
    return Limits(rounds, options.case_budget, wait_s=wait_s)


def _chosen(cases: list[Case], options: argparse.Namespace) -> list[Case]:
    """Cases that are selected, each with the implementations that are asked for."""
    known = dict.fromkeys([*IMPLEMENTATIONS, *(n for c in cases for n in c.implementations)])
    wanted = options.implementations
    names = choose("--implementations", None if wanted is None else wanted.split(","), known)
    chosen = [
        case.only(tuple(n for n in case.implementations if n in names))
        for case in cases
        if options.select in case.name
    ]
    chosen = [case for case in chosen if case.implementations]
    if not chosen:
        raise ValueError(
            "nothing is left to measure: --select takes a part of a group, workload and pass such "
            f"as {cases[0].name if cases else next(iter(GROUPS))}"
        )
    return chosen


if __name__ == "__main__":
    sys.exit(main())
