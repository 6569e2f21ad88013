"""What the page says of a table against the facts that the cases below it state."""

from __future__ import annotations

import re
from typing import Any

import pytest

from benchmarks.group import Group
from benchmarks.groups import GROUPS
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import STEPS
from benchmarks.reporting.timed import timed
from benchmarks.rows import Row
from tests.benchmarks.test_groups import README

CASES = {name: group.cases(Options()) for name, group in GROUPS.items()}
# Code that captions name beside passes, implementations, workloads and keys of a row.
OTHER_CODE = {
    "rnn_jax.fit", "generate", "remat", "jax.shard_map", "jax.jit", "resident", "resident_before",
    "torch.nn.functional.linear_cross_entropy", "auto", "lax.scan", "BENCHMARKS_UNROLL",
}  # fmt: skip


def known(cases: list[Case]) -> set[str]:
    """Every name that a table of these cases can show."""
    parts = {part for case in cases for part in re.split("[-:]", case.workload)}
    return parts | {
        name for case in cases for name in (case.pass_name, case.workload, *case.implementations)
    }


@pytest.mark.parametrize("name", GROUPS)
def test_a_case_says_what_its_times_are_of(name: str) -> None:
    for case in CASES[name]:
        assert case.of != "a call", case.name


@pytest.mark.parametrize("name", GROUPS)
def test_code_in_a_caption_is_in_its_cases(name: str) -> None:
    found = set(re.findall("`([^`]+)`", GROUPS[name].caption))
    assert found - known(CASES[name]) - Row.__annotations__.keys() - OTHER_CODE == set()


def test_captions_say_how_tokens_are_taken() -> None:
    said = 0
    for name, group in GROUPS.items():
        temperatures = {case.facts.get("temperature") for case in CASES[name]}
        caption = group.caption + "".join(case.of for case in CASES[name])
        drawn = {float(t) for t in re.findall(r"at temperature ([0-9.]*[0-9])", caption)}
        greedy = re.search("greedy|likeliest", caption, re.IGNORECASE) is not None
        assert drawn == {t for t in temperatures if t}, name
        assert greedy == (0.0 in temperatures), name
        said += bool(drawn) + greedy
    assert said == 2


def test_many_steps_are_said_of_rows_that_have_them() -> None:
    """No caption speaks of calls with many steps, but a case does of its own pass."""
    for name, group in GROUPS.items():
        for case in CASES[name]:
            many = re.search(r"([0-9]+) of them inside|one of ([0-9]+) inside", case.of)
            assert (many is not None) == (case.pass_name in ("many-steps", "compile")), case.name
            assert many is None or int(many[1] or many[2]) == STEPS
        assert "many inside" not in group.caption


def rows_of(case: Case, steps: int) -> list[dict[str, Any]]:
    return [
        {
            "pass": case.pass_name, "implementation": implementation, "median_ms": 1.0,
            "steps_per_call": steps, "ms_of": case.of, "workload": case.workload,
        }
        for implementation in case.implementations
    ]  # fmt: skip


def test_the_page_says_it_of_those_passes_that_have_rows() -> None:
    cases = {case.pass_name: case for case in CASES["training"]}
    step, many = cases["step"], cases["many-steps"]
    assert timed(rows_of(step, 1)) == f"A time is that of {step.of}."
    both = timed([*rows_of(step, 1), *rows_of(many, STEPS)])
    assert f"- `step`: {step.of}\n- `many-steps`: {many.of}; {STEPS} are clocked together" in both
    assert timed([]) == ""
    old: list[dict[str, Any]] = [{**row, "ms_of": None} for row in rows_of(step, 1)]
    assert timed(old) == ""
    new = [{**row, "workload": "another"} for row in rows_of(step, 1)]
    assert timed([*old, *new]) == timed(new)
    old += [{**row, "ms_of": None} for row in rows_of(many, STEPS)]
    assert f"`many-steps`: one step; {STEPS} are clocked together" in timed(old)


def sizes(group: Group, name: str) -> set[int]:
    return {case.facts[name] for case in CASES[group.name] if case.facts.get(name)}


@pytest.mark.parametrize(
    "name, size",
    [("sequence-scaling", "T"), ("hidden-scaling", "H"), ("batch-scaling", "B"),
     ("vocabulary", "V")],
)  # fmt: skip
def test_the_readme_promises_the_sizes_that_are_measured(name: str, size: str) -> None:
    found = re.search(rf"{size} from ([0-9,]+) to ([0-9,]+)", README)
    assert found is not None
    low, high = (int(text.replace(",", "")) for text in found.groups())
    measured = sizes(GROUPS[name], size)
    assert (low, high) == (min(measured), max(measured))
