"""``python -m benchmarks compare OLD NEW``: what changed between two runs, beyond noise.

A time is judged as a ratio to the control of its own run, a fixed plain-JAX workload that took
turns with it, so that a machine which is slower today changes nothing. What is left is the noise of
single rows: that of their quartiles, and of the ratios of one implementation in one group.
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Any, NamedTuple

from benchmarks.output import print_table
from benchmarks.peers import OURS
from benchmarks.result_files import Row, by, key_of, measured, read_rows, relative_spread

__all__ = ["Change", "Comparison", "add_arguments", "compare", "run"]

# Standard deviations beyond which a change is none of noise: of a whole group, and, since a run has
# hundreds of rows, of a single row.
_OF_GROUP, _OF_ROW = 4.0, 5.0
# A normal deviation's standard deviation by the median of its size.
_MAD = 1 / statistics.NormalDist().inv_cdf(0.75)

GROUP_COLUMNS = ("group", "implementation", "pass", "rows", "ratio", "noise", "verdict")
ROW_COLUMNS = (
    "workload",
    "pass",
    "implementation",
    "old_ms",
    "new_ms",
    "ratio",
    "noise",
    "verdict",
)


class Change(NamedTuple):
    """New time by old one, each by its control; above 1 it is slower now.

    row: of the new run, or the first of a group's.
    rows: how many there are.
    noise: relative, one standard deviation.
    """

    row: Row
    rows: int
    old_ms: float | None
    ratio: float
    noise: float
    verdict: str


class Comparison(NamedTuple):
    """Changes of groups (all passes of an implementation, and each), of rows; what a file lacks."""

    groups: list[Change]
    rows: list[Change]
    missing: list[str]
    new: list[str]

    @property
    def regressions(self) -> list[Change]:
        """Where rnn_jax is slower."""
        every = (*self.groups, *self.rows)
        return [c for c in every if c.verdict == "slower" and c.row["implementation"] == OURS]


def compare(old: list[Row], new: list[Row], threshold: float = 0.1) -> Comparison:
    """Judge every row that both have, and every group of them.

    Args:
      old: rows of the earlier run.
      new: rows of the later one.
      threshold: changes up to this part are none, however sure.

    Raises:
      ValueError: the runs have no row in common.
    """
    before, after = ({key_of(row): row for row in measured(rows)} for rows in (old, new))
    common = [key for key in after if key in before]
    if not common:
        raise ValueError("the two files have no measured row in common: compare runs of one suite")
    logs = {key: math.log(_time(after[key]) / _time(before[key])) for key in common}
    new_rows = [after[key] for key in common]
    passes = list(by(new_rows, "group", "implementation", "pass").values())
    whole = list(by(new_rows, "group", "implementation").values())
    spreads = [_spread([logs[key_of(row)] for row in of]) for of in passes]
    # Few rows may agree by chance; their noise is at least what is usual in this pair of runs.
    usual = statistics.median(spreads)
    groups, rows = [], []
    for of, spread in zip(passes, (max(usual, s) for s in spreads), strict=True):
        for row in of:
            old_row, log = before[key_of(row)], logs[key_of(row)]
            noise = math.hypot(relative_spread(old_row), relative_spread(row), spread)
            rows.append(_judged([row], old_row["median_ms"], log, noise, _OF_ROW, threshold))
    # Of one pass alone there is nothing to put together.
    for of in [*(of for of in whole if of not in passes), *passes]:
        if len(of) > 2:  # else the single rows say it
            found = [logs[key_of(row)] for row in of]
            error = max(usual, _spread(found)) / math.sqrt(len(of))
            shown = of if of in passes else [of[0] | {"pass": "all"}, *of[1:]]
            groups.append(_judged(shown, None, _middle(found), error, _OF_GROUP, threshold))
    return Comparison(
        groups,
        rows,
        ["/".join(map(str, key[:4])) for key in before if key not in after],
        ["/".join(map(str, key[:4])) for key in after if key not in before],
    )


def _time(row: Row) -> float:
    return float(row["median_ms"] / (row.get("control_ms") or 1.0))


def _middle(logs: list[float]) -> float:
    """The mean without the fifth at either end: few odd rows move it little."""
    cut = len(logs) // 5
    return statistics.fmean(sorted(logs)[cut : len(logs) - cut])


def _spread(logs: list[float]) -> float:
    """The standard deviation about the median, by the median deviation."""
    middle = statistics.median(logs)
    return _MAD * statistics.median(abs(log - middle) for log in logs)


def _judged(
    rows: list[Row],
    old_ms: float | None,
    log: float,
    noise: float,
    deviations: float,
    threshold: float,
) -> Change:
    sure = abs(log) > max(deviations * noise, math.log1p(threshold))
    verdict = "no change" if not sure else "slower" if log > 0 else "faster"
    return Change(rows[0], len(rows), old_ms, math.exp(log), noise, verdict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("old", metavar="OLD", help="file of the earlier run")
    parser.add_argument("new", metavar="NEW", help="file of the later run")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.1,
        help="changes up to this part are none, however sure; 0.1",
    )


def run(options: argparse.Namespace) -> int:
    """Print the verdicts; 1 where rnn_jax has become slower, else 0."""
    if not (math.isfinite(options.threshold) and options.threshold >= 0):
        raise ValueError(f"--threshold must be finite and at least 0, not {options.threshold}")
    found = compare(read_rows(options.old), read_rows(options.new), options.threshold)
    print("New time by old time, each by the control of its run\n")
    print_table(map(_shown, found.groups), GROUP_COLUMNS)
    changed = [change for change in found.rows if change.verdict != "no change"]
    print(f"\n{len(changed)} of {len(found.rows)} single rows changed beyond noise")
    if changed:
        print()
        print_table(map(_shown, changed), ROW_COLUMNS)
    for title, names in (("no longer measured", found.missing), ("new", found.new)):
        if names:
            print(f"\n{title}: {', '.join(names)}")
    said = [c for c in (*found.groups, *found.rows) if c.row["implementation"] == OURS]
    slower = len(found.regressions)
    faster = any(change.verdict == "faster" for change in said)
    verdict = f"{slower} regressions" if slower else "faster in part" if faster else "no change"
    print(f"\n{OURS}: {verdict}")
    return 1 if slower else 0


def _shown(change: Change) -> dict[str, Any]:
    names = ("group", "workload", "pass", "implementation")
    return {
        **{name: change.row.get(name) for name in names},
        "rows": change.rows,
        "old_ms": change.old_ms,
        "new_ms": change.row["median_ms"],
        "ratio": change.ratio,
        "noise": change.noise,
        "verdict": change.verdict,
    }
