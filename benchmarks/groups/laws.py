"""The laws of the package on this device: every cell, layer, truncation and generator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.group import Group
from benchmarks.measuring import laws, laws_of_generation
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.members import CELLS, KINDS, Member, layers, of_cell, truncated
from benchmarks.peers import OURS, each_backend
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import NotedRow
from benchmarks.reporting.tables import Line, table
from benchmarks.rows import AnyRow, key_of

__all__ = ["GROUP", "broken", "judged", "scientific"]

_GRADIENTS = "values+gradients"  # the pass of what is not truncated
# B, T, H, D: sizes that no tile divides, and, for what is used most, sizes that tiles like.
_ODD, _EVEN = (5, 13, 33, 7), (16, 32, 128, 64)
_QUICK = (3, 11, 5, 4)
_MAIN = ("lstm", "gru", "tanh")
_COLUMNS = ("implementation", "largest_error", "allowed_error", "error_in", "compile_s", "reason")


def _cases(options: Options) -> list[Case]:
    """First the cells that are used most, by every backend, and the kinds of truncation of one."""
    odd, names = _QUICK if options.quick else _ODD, tuple(each_backend())
    fast = tuple(name for name, backend in each_backend().items() if backend != "scan")

    def case(
        title: str,
        member: Member,
        pass_name: str,
        rank: int,
        shape: tuple[int, int, int, int] = odd,
        kind: str | None = None,
        by: tuple[str, ...] = (OURS,),
    ) -> Case:
        law = laws.Law(title, member, shape, options.dtype, options.precision)
        return laws.case(GROUP.name, law, pass_name, by, rank=rank, truncation=kind)

    size = odd[2]
    cases = [
        # Where the plain scan is held to itself, cells have no more than the code of the main ones.
        case(name, of_cell(name, size), _GRADIENTS, 0, by=names)
        if name in _MAIN
        else case(name, of_cell(name, size), _GRADIENTS, 1, by=fast)
        for name in CELLS
    ]
    cases += [
        case(name, truncated(of_cell(name, size), kind), str(kind), rank, kind=str(kind))
        for rank, name in enumerate(_MAIN)
        for kind in KINDS
    ]
    cases += [case(name, member, _GRADIENTS, 1) for name, member in layers(size).items()]
    stack = layers(size)["serial"]
    cases += [
        case("serial", truncated(stack, kind), str(kind), 2, kind=str(kind)) for kind in KINDS
    ]
    cases += [
        laws_of_generation.case(
            GROUP.name, name, size, options.dtype, options.precision, rank=min(index, 1)
        )
        for index, name in enumerate(laws_of_generation.GENERATORS)
    ]
    if not options.quick:
        cases += [
            case(name, of_cell(name, _EVEN[2]), _GRADIENTS, 1, _EVEN, by=names) for name in _MAIN
        ]
    return cases


def judged(rows: Iterable[AnyRow]) -> list[AnyRow]:
    """The last row of each law that was tried to its end, the furthest from holding first."""
    last = {key_of(row): row for row in rows if row["group"] == GROUP.name}
    tried = [row for row in last.values() if row["status"] not in ("unavailable", "out-of-time")]
    return sorted(tried, key=_share, reverse=True)


def broken(rows: Iterable[AnyRow]) -> list[AnyRow]:
    """Of those the laws that do not hold; one whose process failed is not known to."""
    return [row for row in judged(rows) if row["status"] != "ok"]


def scientific(row: Mapping[str, Any], name: str) -> str | None:
    """An error as it is read, such as 2.5e-07; None where there is none."""
    return None if row.get(name) is None else f"{row[name]:.1e}"


def _share(row: Mapping[str, Any]) -> float:
    """The largest error by what is allowed; infinite where nothing came."""
    error, allowed = row.get("largest_error"), row.get("allowed_error")
    return float("inf") if error is None or allowed is None else error / allowed


def _section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
    """A line a law, the worst of its errors first."""
    tried = judged(rows)
    if not tried:
        return []
    lines: list[Line] = [
        {
            "law": f"{row['workload']}, {row['pass']}",
            "implementation": row["implementation"],
            "largest error": scientific(row, "largest_error"),
            "allowed": scientific(row, "allowed_error"),
            "in": row.get("error_in"),
            "holds": "yes" if row["status"] == "ok" else "**no**",
            "reason": row["reason"],
        }
        for row in tried
    ]
    count = f"{len(tried) - len(broken(rows))} of {len(tried)} hold."
    return [f"## {group.name.capitalize()}", group.caption, count, table(lines, tuple(lines[0]))]


GROUP = Group(
    "laws",
    _cases,
    _COLUMNS,
    "Values and gradients on this device, beside the plain scan in float64 on the host (in "
    "float32 where a member draws from a key). An error is part of the largest element of its "
    "array. Inputs are another draw for every row, and what results are written to held NaN.",
    _section,
    summarised=False,
    accelerator_only=True,
)
