"""Two machines side by side: every row that both have, and what its groups come to.

Nothing is judged here: other processors, other counts of cores and other versions of everything
are no change of rnn_jax. A time by the other machine's time says which machine is faster, and the
ratios to rnn_jax on each whether a peer stands otherwise there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from benchmarks.machines import MACHINE, model_of, other_machine
from benchmarks.peers import OURS
from benchmarks.reporting.page import follows_dtype, sureness
from benchmarks.reporting.summary import noted
from benchmarks.reporting.tables import FORM, UNSURE, Line, cell, table
from benchmarks.rows import Row, key_of, measured, number, unsteady

__all__ = ["side_by_side"]

Pair = tuple[Row, Row]  # the same row of both

_OF_OLDER = f"of them {FORM}"
_FACTS = (*MACHINE, "model", "machine", "python", "jax", "numpy", "commit")


def side_by_side(first: list[Row], second: list[Row], names: tuple[str, str] = ("A", "B")) -> str:
    """Both machines, what each group comes to, and a line for every row that both have.

    Times are in milliseconds a step. "A / B" is the time on A by that on B, with its 95 % interval
    where both have one: above 1 B is faster. "ratio" is a peer's time by ours on that machine.

    Raises:
      ValueError: they have no measured row in common.
    """
    before, after = ({key_of(row): row for row in measured(rows)} for rows in (first, second))
    pairs = [(before[key], after[key]) for key in before if key in after]
    if not pairs:
        raise ValueError("the two files have no measured row in common: compare runs of one suite")
    what = "machines" if other_machine(first, second) else "runs"
    blocks = [f"# Two {what} side by side", *_described(first, second, names)]
    blocks += ["## Over all rows that both have", _groups(pairs, names)]
    for (group,), same in _alike(pairs, "group").items():
        blocks += [f"## {group}", _rows(same, names)]
    for name, rows, other in ((names[0], before, after), (names[1], after, before)):
        alone = [key for key in rows if key not in other]
        if alone:
            such = "/".join(map(str, alone[0][:4]))
            blocks.append(f"Only {name} has {len(alone)} further rows, such as {such}.")
    return "\n\n".join(filter(None, blocks)) + "\n"


def _described(first: list[Row], second: list[Row], names: tuple[str, str]) -> list[str]:
    lines: list[Line] = []
    facts = [[{**row, "model": model_of(row)} for row in rows] for rows in (first, second)]
    for fact in _FACTS:
        stated = [_values(row.get(fact) for row in rows) for rows in facts]
        if any(stated):
            lines.append({"": fact, **dict(zip(names, stated, strict=True))})
    # Rows in a dtype of their own, as NumPy's double loop, have the ceiling of the run's.
    own = [[row for row in rows if follows_dtype(row)] for rows in (first, second)]
    for dtype in dict.fromkeys(row.get("dtype") for rows in own for row in rows):
        fact = f"gemm_gflops_per_s, {dtype}"
        known = [[row for row in rows if row.get("dtype") == dtype] for rows in own]
        lines += _best(fact, "gemm_gflops_per_s", known, names)
    lines += _best("copy_gb_per_s", "copy_gb_per_s", [first, second], names)
    notes = [
        f"{name}: {sentence}"
        for name, rows in zip(names, (first, second), strict=True)
        if (sentence := sureness(noted(rows)))
    ]
    return [table(lines, ("", *names)), *notes]


def _best(said: str, key: str, files: list[list[Row]], names: tuple[str, str]) -> list[Line]:
    """A line with the highest of either file, if one has any."""
    known = [[number(row, key) for row in rows if row.get(key)] for rows in files]
    most = [max(values, default=None) for values in known]
    return [{"": said, **dict(zip(names, most, strict=True))}] if any(known) else []


def _values(values: Iterable[object]) -> str | None:
    stated = dict.fromkeys(str(value) for value in values if value is not None)
    if len(stated) > 3:
        return f"{', '.join(list(stated)[:2])} and {len(stated) - 2} others"
    return ", ".join(stated) or None


def _groups(pairs: list[Pair], names: tuple[str, str]) -> str:
    """A line a group, implementation, pass and dtype: geometric means, and the extremes."""
    lines: list[Line] = []
    alike = _alike(pairs, "group", "implementation", "pass", "dtype")
    for (group, implementation, pass_name, dtype), same in alike.items():
        logs = [_log(a, b) for a, b in same]
        lines.append(
            {
                "group": group,
                "implementation": implementation,
                "pass": pass_name,
                "dtype": dtype,
                "rows": len(same),
                _by(names): math.exp(math.fsum(logs) / len(logs)),
                "least": math.exp(min(logs)),
                "most": math.exp(max(logs)),
                f"ratio, {names[0]}": _mean_ratio([a for a, _ in same]),
                f"ratio, {names[1]}": _mean_ratio([b for _, b in same]),
                f"of them {UNSURE}": sum(bool(unsteady(a) or unsteady(b)) for a, b in same),
                _OF_OLDER: sum(any(row.get("older_form") for row in pair) for pair in same),
            }
        )
    marked = any(line[_OF_OLDER] for line in lines)
    return table(lines, [name for name in lines[0] if marked or name != _OF_OLDER])


def _rows(pairs: list[Pair], names: tuple[str, str]) -> str:
    lines: list[Line] = []
    for a, b in pairs:
        log, half = _log(a, b), _half(a, b)
        ends = None if half is None else tuple(math.exp(log + sign * half) for sign in (-1, 1))
        lines.append(
            {
                "workload": a["workload"],
                "pass": a["pass"],
                "implementation": a["implementation"],
                "dtype": a.get("dtype"),
                f"{names[0]}, ms": cell(a, "median_ms"),
                f"{names[1]}, ms": cell(b, "median_ms"),
                _by(names): math.exp(log),
                "95 %": None if ends is None else f"{ends[0]:.3f} … {ends[1]:.3f}",
                f"ratio, {names[0]}": cell(a, "ratio"),
                f"ratio, {names[1]}": cell(b, "ratio"),
            }
        )
    used = [name for name in lines[0] if any(line[name] not in (None, "-") for line in lines)]
    return table(lines, used)


def _alike(pairs: list[Pair], *names: str) -> dict[tuple[Any, ...], list[Pair]]:
    alike: dict[tuple[Any, ...], list[Pair]] = {}
    for one, two in pairs:
        alike.setdefault(tuple(one.get(name) for name in names), []).append((one, two))
    return alike


def _by(names: tuple[str, str]) -> str:
    return f"{names[0]} / {names[1]}"


def _log(a: Row, b: Row) -> float:
    return math.log(number(a, "median_ms") / number(b, "median_ms"))


def _half(a: Row, b: Row) -> float | None:
    """Half the width of the quotient's interval, as a logarithm: the runs are independent."""
    halves = []
    for row in (a, b):
        low, high = row.get("low_ms"), row.get("high_ms")
        if not low or not high:
            return None
        halves.append(math.log(high / low) / 2)
    return math.hypot(*halves)


def _mean_ratio(rows: list[Row]) -> float | None:
    ratios = [row["ratio"] for row in rows if row.get("ratio") and row["implementation"] != OURS]
    if not ratios:
        return None
    return math.exp(math.fsum(math.log(ratio) for ratio in ratios if ratio) / len(ratios))
