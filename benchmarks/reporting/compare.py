"""``python -m benchmarks compare OLD NEW``: what changed between two runs, beyond noise.

Runs of two machines are no change: they are put side by side, and nothing is judged.

A time is judged by what took turns with it: the control, a fixed plain-JAX workload, and the peers
of its case, so that a machine which is slower today changes nothing. What is left is the noise of
single rows: that of their rounds, and of the changes of one implementation in one group.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple, cast

from benchmarks.machines import model_of, other_machine
from benchmarks.peers import OURS, is_ours
from benchmarks.reporting.estimates import Estimate, changes_of
from benchmarks.reporting.side_by_side import side_by_side
from benchmarks.reporting.tables import Line, table
from benchmarks.result_files import read_rows
from benchmarks.rows import Row, by, key_of, measured, number

__all__ = ["Change", "Comparison", "add_arguments", "compare", "run"]

# Standard deviations beyond which a change is not noise: for a single row, of which a run has
# hundreds, and for a whole group, whose error is a cautious one: where rows scatter by a tenth,
# more would miss a slowdown of a fifth.
_OF_ROW, _OF_GROUP = 5.0, 2.5
# The rows of a group are not independent measurements: one allocation, one program's layout or one
# noisy minute moves many alike, which their scatter about each other does not show. So the error of
# a group is never less than this part of a row's usual error. That one is the scatter of the ratios
# in this pair of runs, in which the errors of the medians are already; the quartiles are of single
# calls and would count them again.
_SHARED = 0.5
# A normal deviation's standard deviation by the median of its size.
_MAD = 1 / statistics.NormalDist().inv_cdf(0.75)

GROUP_COLUMNS = ("group", "implementation", "pass", "rows", "ratio", "noise", "verdict")
ROW_COLUMNS = (
    "group", "workload", "pass", "implementation", "old_ms", "new_ms", "ratio", "noise", "verdict",
)  # fmt: skip


class Change(NamedTuple):
    """The new time by the old one, each by its witnesses; above 1 it is slower now.

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


class Shift(NamedTuple):
    """What the peers of a group have moved by beside the control, as a logarithm; their names."""

    log: float
    peers: tuple[str, ...]


class Comparison(NamedTuple):
    """Changes of groups (all passes of an implementation, and each), of rows; what a file lacks.

    shifts: by group, what its peers moved by beside the control.
    warnings: what differs between the runs and may explain a change.
    by_processor: rows whose processor time was compared, because others were busy meanwhile.
    """

    groups: list[Change]
    rows: list[Change]
    missing: list[str]
    new: list[str]
    shifts: dict[Any, Shift]
    warnings: list[str]
    by_processor: int = 0

    @property
    def regressions(self) -> list[Change]:
        """Where rnn_jax is slower, by any of its ways."""
        every = (*self.groups, *self.rows)
        return [c for c in every if c.verdict == "slower" and is_ours(c.row["implementation"])]


def compare(old: list[Row], new: list[Row], threshold: float = 0.1) -> Comparison:
    """Judge every row that both have, and every group of them.

    Args:
      old: rows of the earlier run.
      new: rows of the later one.
      threshold: changes up to this part do not count, however certain they are.

    Raises:
      ValueError: the runs have no row in common or none of rnn_jax, are of two devices, or only
        one has a row's control.
    """
    before, after = ({key_of(row): row for row in measured(rows)} for rows in (old, new))
    common = [key for key in after if key in before]
    if not common:
        raise ValueError("the two files have no measured row in common: compare runs of one suite")
    pairs = [(before[key], after[key]) for key in common]
    _refuse(pairs)
    changes = dict(zip(common, changes_of(pairs), strict=True))
    logs = {key: change.log for key, change in changes.items()}
    new_rows = [after[key] for key in common]
    if not any(row["implementation"] == OURS for row in new_rows):
        raise ValueError(
            f"the two files have no measured row of {OURS} in common: compare runs of the same "
            "workloads, or put them side by side with --side-by-side"
        )
    passes = list(by(new_rows, "group", "implementation", "pass").values())
    whole = list(by(new_rows, "group", "implementation").values())
    spreads = [_spread([logs[key_of(row)] for row in same]) for same in passes]
    # Few rows may agree by chance; their noise is at least what is usual in this pair of runs.
    usual = statistics.median(spreads)
    groups, rows = [], []
    for same, spread in zip(passes, (max(usual, s) for s in spreads), strict=True):
        for row in same:
            change, old_ms = changes[key_of(row)], number(before[key_of(row)], "median_ms")
            noise = math.hypot(change.error, spread)
            rows.append(_judged([row], old_ms, change.log, noise, _OF_ROW, threshold))
    # With one pass alone there is nothing to put together.
    for same in [*(same for same in whole if same not in passes), *passes]:
        if len(same) > 2:  # else the single rows are enough
            own = [logs[key_of(row)] for row in same]
            noise = max(_error(own, usual), _SHARED * usual)
            shown = same if same in passes else [_all_passes(same[0]), *same[1:]]
            groups.append(_judged(shown, None, _middle(own), noise, _OF_GROUP, threshold))
    return Comparison(
        groups,
        rows,
        ["/".join(map(str, key[:4])) for key in before if key not in after],
        ["/".join(map(str, key[:4])) for key in after if key not in before],
        _shifts(whole, dict(zip(common, changes_of(pairs, by_peers=False), strict=True))),
        _warnings(pairs),
        sum(change.by_processor for change in changes.values()),
    )


def _refuse(pairs: list[tuple[Row, Row]]) -> None:
    """Raise `ValueError` where a pair cannot be compared."""
    for old, new in pairs:
        for name in ("device", "platform"):
            one, other = old.get(name), new.get(name)
            if None not in (one, other) and one != other:
                raise ValueError(
                    f"OLD was measured on the {name} {one} and NEW on {other}: compare runs of "
                    "one machine"
                )
        if bool(old.get("control_ms")) != bool(new.get("control_ms")):
            lacks = "OLD" if new.get("control_ms") else "NEW"
            raise ValueError(
                f"{lacks} lacks the control's time of {'/'.join(map(str, key_of(new)[:4]))} and "
                "the other file has it: measure both with one version of the suite"
            )


def _warnings(pairs: list[tuple[Row, Row]]) -> list[str]:
    """A sentence for the processor, its model and every version that both state and that differ."""
    facts: dict[str, list[dict[str, None]]] = {}
    for pair in pairs:
        for side, row in enumerate(pair):
            versions = row.get("versions") or {}
            stated = {
                **versions,
                "processor": row.get("processor"),
                "processor's model": model_of(row),
                "jax": row.get("jax"),
            }
            for name, value in stated.items():
                if value is not None:
                    facts.setdefault(name, [{}, {}])[side][str(value)] = None
    return [
        f"{name} differs: {', '.join(old)} in OLD, {', '.join(new)} in NEW"
        for name, (old, new) in sorted(facts.items())
        if old and new and old.keys() != new.keys()
    ]


def _all_passes(row: Row) -> Row:
    return cast(Row, {**row, "pass": "all"})


def _shifts(whole: list[list[Row]], changes: dict[Any, Estimate]) -> dict[Any, Shift]:
    """By group what its peers have moved by, where there are two of them."""
    moved: dict[Any, dict[str, float]] = {}
    for same in whole:
        name = same[0]["implementation"]
        if not is_ours(name):
            own = [changes[key_of(row)].log for row in same]
            moved.setdefault(same[0].get("group"), {})[name] = _middle(own)
    ours = {same[0].get("group") for same in whole if same[0]["implementation"] == OURS}
    return {
        group: Shift(statistics.median(peers.values()), tuple(peers))
        for group, peers in moved.items()
        if len(peers) >= 2 and group in ours
    }


def _middle(logs: list[float]) -> float:
    """The mean without the fifth at either end: few odd rows move it little."""
    cut = len(logs) // 5
    return statistics.fmean(sorted(logs)[cut : len(logs) - cut])


def _spread(logs: list[float]) -> float:
    """The standard deviation about the median, by the median deviation."""
    middle = statistics.median(logs)
    return _MAD * statistics.median(abs(log - middle) for log in logs)


def _error(logs: list[float], usual: float) -> float:
    """The standard error of their middle, were they independent."""
    return max(usual, _spread(logs)) / math.sqrt(len(logs))


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
    parser.add_argument(
        "--side-by-side",
        action="store_true",
        help="print both as two machines and judge nothing, as is done where processor, its "
        "model, device or number of cores differ",
    )


def run(options: argparse.Namespace) -> int:
    """Print the verdicts, or two machines; 1 where rnn_jax has become slower, else 0."""
    if not (math.isfinite(options.threshold) and options.threshold >= 0):
        raise ValueError(f"--threshold must be finite and at least 0, not {options.threshold}")
    old, new = read_rows(options.old), read_rows(options.new)
    if options.side_by_side or other_machine(old, new):
        one, two = Path(options.old).stem, Path(options.new).stem
        print(side_by_side(old, new, (one, two) if one != two else ("OLD", "NEW")), end="")
        return 0
    judged = compare(old, new, options.threshold)
    for warning in judged.warnings:
        print(f"warning: {warning}")
    print("New time by old time, less what the control and the peers of each case moved by")
    if judged.by_processor:
        print(
            f"{judged.by_processor} of {len(judged.rows)} rows were measured beside other "
            "processes: of them the processor's time is compared, which tells nothing of waiting"
        )
    for group, shift in judged.shifts.items():
        print(
            f"{group}: the {len(shift.peers)} peers ({', '.join(shift.peers)}) moved by "
            f"{math.exp(shift.log):.3f} in the median, beside the control"
        )
    print()
    if judged.groups:
        print(table(map(_line, judged.groups), GROUP_COLUMNS))
    shown = {_whose(change) for change in judged.groups}
    # Fewer than three rows of an implementation make no group.
    if single := [change for change in judged.rows if _whose(change) not in shown]:
        print("\n" * bool(judged.groups) + table(map(_line, single), ROW_COLUMNS))
    changed = [change for change in judged.rows if change.verdict != "no change"]
    print(f"\n{len(changed)} of {len(judged.rows)} single rows changed beyond noise")
    if others := [change for change in changed if _whose(change) in shown]:
        print()
        print(table(map(_line, others), ROW_COLUMNS))
    for title, names in (("not in NEW", judged.missing), ("not in OLD", judged.new)):
        if names:
            print(f"\n{title}: {len(names)} rows, such as {names[0]}")
    ours = [c for c in (*judged.groups, *judged.rows) if is_ours(c.row["implementation"])]
    slower = bool(judged.regressions)
    faster = any(change.verdict == "faster" for change in ours)
    verdict = "slower" if slower else "faster in part" if faster else "no change"
    print(f"\n{OURS}: {verdict}")
    return 1 if slower else 0


def _whose(change: Change) -> tuple[object, object]:
    return change.row.get("group"), change.row["implementation"]


def _line(change: Change) -> Line:
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
