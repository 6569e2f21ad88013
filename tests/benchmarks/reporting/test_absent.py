"""What of the suite was not run: the suite's cases against the rows."""

from __future__ import annotations

from typing import Any

from benchmarks.groups import GROUPS
from benchmarks.measuring.case import Options
from benchmarks.reporting.absent import absent
from benchmarks.reporting.machine import machine


def rows_of(options: Options) -> list[Any]:
    return [
        {
            "group": case.group, "workload": case.workload, "pass": case.pass_name,
            "implementation": name, "dtype": options.dtype, "precision": options.precision,
            "platform": options.platform, "device_count": options.device_count,
        }
        for group in GROUPS.values()
        for case in group.cases(options)
        for name in case.implementations
    ]  # fmt: skip


def text(rows: list[Any]) -> str:
    return " ".join("\n".join(absent(rows)).split())


def test_of_a_whole_run_nothing_is_absent() -> None:
    for options in (
        Options(),
        Options(quick=True),
        Options(platform="gpu", device_count=8),
        Options(dtype="bfloat16", precision="high"),
    ):
        assert "Nothing: every row" in text(rows_of(options))


def test_one_row_that_is_absent_is_named() -> None:
    rows = rows_of(Options())
    gone = next(r for r in rows if r["group"] == "recurrence" and r["implementation"] == "torch")
    said = text([row for row in rows if row is not gone])
    assert (
        f"- `recurrence`: without torch in 1 of 54 cases: {gone['workload']} {gone['pass']}" in said
    )


def test_cases_and_groups_without_a_row_are_named_once() -> None:
    rows = [
        row
        for row in rows_of(Options())
        if row["group"] != "serving" and "16384" not in row["workload"]
    ]
    said = text(rows)
    assert "- `serving`: no row at all, 8 of 8 cases" in said
    both = "lstm-8x16384x128x128 forward+backward, rnn-8x16384x128x128 forward+backward"
    assert f"- `sequence-scaling`: no row in 2 of 24 cases: {both}" in said


def test_what_is_left_to_accelerators_is_missed_where_a_part_of_it_was_run() -> None:
    left = {name for name, group in GROUPS.items() if group.accelerator_only}
    rows = rows_of(Options())
    assert "Nothing: every row" in text([row for row in rows if row["group"] not in left])
    gone = next(row for row in rows if row["group"] == "laws")
    assert "- `laws`: without" in text([row for row in rows if row is not gone])


def test_what_has_a_dtype_of_its_own_is_missed_in_no_other_part() -> None:
    rows = [row for row in rows_of(Options(dtype="bfloat16")) if GROUPS[row["group"]].follows_dtype]
    assert "Nothing: every row" in text(rows)
    assert absent([]) == []


def test_the_command_that_measures_again_is_that_of_a_quick_run_where_the_rows_are() -> None:
    for quick in (False, True):
        rows = [row | {"date": "2026-11-30T12:00:00"} for row in rows_of(Options(quick=quick))]
        again = next(line for line in machine(rows, None).splitlines() if "groups, whole" in line)
        assert ("--quick" in again) == quick


def test_the_page_says_how_much_time_cases_had() -> None:
    made = rows_of(Options(quick=True))[:3]
    rows = [row | {"date": "2026-11-30T12:00:00", "median_ms": 1.0} for row in made]
    assert "- time a case had for its rounds, of so many rows: not recorded (3)" in machine(
        rows, None
    )
    budgets = [row | {"case_budget_s": 5.0 if row is rows[0] else 20.0} for row in rows]
    said = "of so many rows: 5 s (1), 20 s (2)"
    assert f"{said}\n" in machine(budgets, None)
    assert f"{said}, not recorded (1)\n" in machine([*budgets, rows[0]], None)
