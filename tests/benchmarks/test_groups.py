"""A group is one value in one file: no other file of the suite knows it by name."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from benchmarks.group import Group
from benchmarks.groups import GROUPS
from benchmarks.measuring import runner
from benchmarks.measuring.case import Options
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import noted
from benchmarks.rows import Row

ROOT = Path(benchmarks.__file__).parent
OWN_FILES = {name: Path(inspect.getfile(group.cases)) for name, group in GROUPS.items()}


def strings(tree: ast.Module) -> set[str]:
    """The string literals of a file, but for keys of a row where a row or its like is indexed."""
    keys = {
        id(node)
        for outer in ast.walk(tree)
        for node in (
            *(outer.keys if isinstance(outer, ast.Dict) else ()),
            *((outer.slice,) if isinstance(outer, ast.Subscript) else ()),
            *(outer.args[:1] if isinstance(outer, ast.Call) and _is_get(outer.func) else ()),
        )
        if isinstance(node, ast.Constant) and node.value in Row.__annotations__
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in keys
    }


def _is_get(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == "get"


def named(file: Path) -> set[str]:
    """The groups that a file names, as ``name`` or as ``name/`` at the beginning of a case's."""
    literals = strings(ast.parse(file.read_text(encoding="utf-8")))
    return {literal.split("/")[0] for literal in literals} & set(GROUPS)


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_is_named_in_its_own_file_and_in_no_other(name: str) -> None:
    files = [file for file in ROOT.rglob("*.py") if name in named(file)]
    assert files == [OWN_FILES[name]]


def test_each_group_has_a_file_of_its_own() -> None:
    assert len(set(OWN_FILES.values())) == len(GROUPS)
    assert {file.parent for file in OWN_FILES.values()} == {ROOT / "groups"}


def test_a_literal_is_told_from_a_key_of_a_row() -> None:
    source = 'row["devices"]; row.get("truncation"); {"devices": 1}; f("compile"); x == "devices"'
    assert strings(ast.parse(source)) & set(GROUPS) == {"compile", "devices"}


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_without_rows_has_no_section(name: str, tmp_path: Path) -> None:
    group = GROUPS[name]
    assert group.name == name and group.caption
    assert group.section(group, [], Pictures(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
    if group.headline is not None:
        assert group.headline([]) == ([], "")


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_every_group_and_file() -> None:
    assert [name for name in GROUPS if f"`{name}`" not in README] == []
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_the_readmes_group_can_be_measured_and_reported(tmp_path: Path) -> None:
    (source,) = re.findall("```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)
    group: Group = names["GROUP"]
    case = group.cases(Options(quick=True))[0].only(("rnn_jax", "numpy-vectorised"))
    rows = runner.measure(case, lambda row: None, limits=runner.Limits(rounds=1, case_s=0))
    assert {row["group"] for row in rows} == {group.name}
    assert [row["status"] for row in rows] == ["ok", "ok"]
    heading, caption, lines, footnote = group.section(group, noted(rows), Pictures(tmp_path))
    assert (heading, caption, footnote) == ("## Wide-batch", group.caption, "")
    assert case.workload in lines
