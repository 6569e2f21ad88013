"""The README's Python runs as it stands, and its commands have only flags that exist."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnn_jax.cli import evaluate, gradcheck, sample, train

TEXT = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "sample": sample.sample,
    "gradcheck": gradcheck.gradcheck,
}


def test_the_python_runs_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    loss, expected = re.findall(r"\d+\.\d\d", printed)
    assert abs(float(loss) - float(expected)) < 0.01 * float(expected)


def test_the_commands_have_only_flags_that_exist() -> None:
    lines = re.findall(r"rnn-jax ((?:[^\n`#]|\\\n)+)", TEXT.replace("\\\n", " "))
    seen = set()
    for line in lines:
        name, *words = shlex.split(line)
        if name not in COMMANDS:
            continue
        seen.add(name)
        known = {"json", *inspect.signature(COMMANDS[name]).parameters}
        flags = {word[2:].removeprefix("no-") for word in words if word.startswith("--")}
        assert {flag.replace("-", "_") for flag in flags if flag != "help"} <= known
    assert seen == set(COMMANDS)
