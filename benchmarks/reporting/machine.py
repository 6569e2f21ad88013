"""The machine and the run, as the page states them over its tables."""

from __future__ import annotations

from benchmarks.groups import GROUPS
from benchmarks.measuring.roofline import Roofline
from benchmarks.measuring.system import described
from benchmarks.reporting.absent import is_quick
from benchmarks.reporting.summary import NotedRow
from benchmarks.rows import QUIET, by, measured, number

__all__ = ["machine"]

_UNKNOWN = (
    "family, model and stepping, clock, governor, caches, memory, limits, threads and BLAS are not "
    "known, for the suite did not ask for them yet"
)


def machine(rows: list[NotedRow], ceilings: Roofline | None, *, again: bool = True) -> str:
    """A list of facts, and how to measure these groups ``again``."""
    row = rows[0]
    versions: dict[str, dict[str, None]] = {}
    for one in rows:
        for name, version in (one.get("versions") or {}).items():
            versions.setdefault(name, {})[version] = None
    loads = [load for one in rows if (load := one.get("load_average")) is not None]
    cores = f"{row.get('cpu_count')} CPU cores"
    if row.get("processor"):
        cores += f" of {row['processor']}"
    device = "" if row.get("platform") == "cpu" else f"{row.get('device')}, "
    facts = [f"{device}{cores}, {row.get('machine')}", *_system(rows), *_gpu(rows)]
    facts += [
        f"Python {row.get('python')}, "
        + ", ".join(f"{name} {' and '.join(found)}" for name, found in sorted(versions.items())),
        f"measured {_days(rows)}",
    ]
    commits: dict[str, dict[str, None]] = {}
    for one in rows:
        if commit := one.get("commit"):
            commits.setdefault(commit, {})[one["group"]] = None
    if commits:
        named = (
            f"{commit} (uncommitted changes: {', '.join(groups)})"
            if commit.endswith("-dirty")
            else commit
            for commit, groups in sorted(commits.items())
        )
        facts.append(f"commit {', '.join(named)}")
    if ceilings is not None:
        facts.append(
            "ceilings, of the newest run of them only: "
            f"{ceilings.gemm_gflops_per_s:.0f} GFLOP/s in the best product, "
            f"{ceilings.copy_gb_per_s:.1f} GB/s in memory, {ceilings.bandwidth(0):.1f} GB/s in the "
            "fastest cache"
        )
    stated = [gemm for one in rows if (gemm := one.get("gemm_gflops_per_s"))]
    if stated and max(stated) > 1.2 * min(stated):
        facts.append(
            f"not equally fast at all times: a large product came to {min(stated):.0f} to "
            f"{max(stated):.0f} GFLOP/s, run by run"
        )
    # Of older rows, which have no ceiling, copies were timed into fresh memory.
    held = [one for one in rows if one.get("ceiling_gflops_per_s")]
    copies = [copy for one in held if (copy := one.get("copy_gb_per_s"))]
    if copies and max(copies) > 1.2 * min(copies):
        facts.append(
            f"memory came to {min(copies):.0f} to {max(copies):.0f} GB/s, run by run: a row's "
            "fraction of the ceiling is of its own run's"
        )
    if ceilings is not None:
        facts += _above(rows, ceilings)
    if loads:
        facts.append(f"load average {min(loads):.1f} to {max(loads):.1f}")
    if busy := [share for one in rows if (share := one.get("busy_share")) is not None]:
        facts.append(
            f"others kept {100 * min(busy):.0f} to {100 * max(busy):.0f} % of the cores busy, "
            f"{100 * QUIET:.0f} % or more in {sum(share >= QUIET for share in busy)} of the "
            f"{len(busy)} rows that say so"
        )
    if any(one.get("throttled") for one in rows):
        facts.append("throttled at times")
    facts += [*_budgets(rows), _energy(rows), *(_again(rows) if again else [])]
    return "\n".join(f"- {fact}" for fact in facts)


def _above(rows: list[NotedRow], ceilings: Roofline) -> list[str]:
    """Which rows were faster than the best product that the page has a ceiling of."""
    best = ceilings.gemm_gflops_per_s
    rated = [row for row in measured(rows) if row.get("gflops_per_s")]
    faster = [row for row in rated if number(row, "gflops_per_s") > best]
    if not faster:
        return []
    named = []
    for (group, workload, pass_name), same in by(faster, "group", "workload", "pass").items():
        speeds = (f"{row['implementation']} {row['gflops_per_s']:.0f}" for row in same)
        named.append(f"{group}/{workload}/{pass_name}: {', '.join(speeds)}")
    return [
        f"above those {best:.0f} GFLOP/s are {len(faster)} of {len(rated)} rows, for the machine "
        "was faster when they were measured, or their library's product is: " + "; ".join(named)
    ]


def _days(rows: list[NotedRow]) -> str:
    days = sorted({(row.get("date") or "")[:10] for row in rows})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _system(rows: list[NotedRow]) -> list[str]:
    """What rows state of the system, machine by machine; two of one name may differ in it."""
    states: dict[str, int] = {}
    for row in rows:
        found = row.get("system")
        text = "; ".join(described(found)) if found else _UNKNOWN
        states[text] = states.get(text, 0) + 1
    if len(states) == 1:
        return list(states)
    return [f"{count} of {len(rows)} rows: {text}" for text, count in states.items()]


def _gpu(rows: list[NotedRow]) -> list[str]:
    names = {"driver_version": "driver", "power.limit": "power limit", "clocks.max.sm": "clock"}
    found = {
        f"{said} {value}" for row in rows for key, said in names.items() if (value := row.get(key))
    }
    return [", ".join(sorted(found))] if found else []


def _energy(rows: list[NotedRow]) -> str:
    if any(row.get("joules_per_step") for row in rows):
        return (
            "energy: counted in calls after the clocked ones, what an idle machine takes included"
        )
    reasons = {reason for row in rows if (reason := row.get("energy_reason"))}
    return f"energy: {'; '.join(sorted(reasons)) or 'not asked for when these rows were measured'}"


def _budgets(rows: list[NotedRow]) -> list[str]:
    """The time that cases had for their rounds, and in how many rows."""
    given = by([row for row in rows if row.get("median_ms")], "case_budget_s")
    unknown = len(given.pop((None,), []))
    said = [f"{seconds:g} s ({len(same)})" for (seconds,), same in sorted(given.items())]
    if unknown:
        said.append(f"not recorded ({unknown})")
    return [f"time a case had for its rounds, of so many rows: {', '.join(said)}"] if said else []


def _again(rows: list[NotedRow]) -> list[str]:
    """The commands that measure the groups of the rows whole, on one device and on several."""
    row, here = rows[0], {row.get("group") for row in rows}
    common = f"--dtype {row.get('dtype')} --precision {row.get('precision') or 'highest'} --out"
    common = "--quick " * is_quick(rows) + common
    one = [name for name in GROUPS if name in here and not GROUPS[name].several_devices]
    more = [name for name in GROUPS if name in here and GROUPS[name].several_devices]
    lines = []
    if one:
        lines.append(
            "these groups, whole, with the time a case that the suite gives by default: "
            f"`python -m benchmarks {' '.join(one)} {common} ROWS.jsonl`"
        )
    if more:
        lines.append(
            f"and on 1, 2, 4 and 8 devices: `python -m benchmarks {' '.join(more)} {common} "
            f"SPREAD.jsonl`"
        )
    return lines
